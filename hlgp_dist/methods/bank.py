"""The prompts of all tasks so far, and their weighted mixture block by block.

T tasks, G groups, N prompted layers, L prompt length, D width, B batch; axis of size 2: keys, values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TaskPrompts:
    """sub_prompts [T, G, 2, L, D] and positions [T, N, D] (or [1, N, D] where all tasks share them)."""

    sub_prompts: Tensor
    positions: Tensor
    slots: dict[int, tuple[int, int]]
    """Block index -> (its place n among the prompted layers, its group g)."""

    def mixed(self, weights: Tensor) -> Mixture:
        """Prefixes under task weights [1 or B, T]."""
        return Mixture(self, weights)


@dataclass(frozen=True)
class Mixture:
    """P_l = sum_i w_i (S_i,g(l) + E_i[l]); only one block's prompts exist at a time."""

    prompts: TaskPrompts
    weights: Tensor

    def layer(self, index: int) -> Tensor | None:
        """[1 or B, 2, L, D] of block `index`; None where it has no prompt."""
        if index not in self.prompts.slots:
            return None
        place, group = self.prompts.slots[index]
        sub_prompt = torch.einsum("bt,tkld->bkld", self.weights, self.prompts.sub_prompts[:, group])
        position = self.weights @ self.prompts.positions[:, place].expand(self.weights.shape[1], -1)
        return sub_prompt + position[:, None, None]


class PromptBank(nn.Module):
    """Frozen prompts of finished tasks. `positions` are kept a task only where they are learned."""

    sub_prompts: Tensor
    positions: Tensor

    def __init__(self, blocks: Sequence[int], groups: Sequence[int], length: int, width: int) -> None:
        super().__init__()
        self.slots = {block: (place, group) for place, (block, group) in enumerate(zip(blocks, groups, strict=True))}
        self.register_buffer("sub_prompts", torch.zeros(0, max(groups) + 1, 2, length, width))
        self.register_buffer("positions", torch.zeros(0, len(blocks), width))

    def __len__(self) -> int:
        return len(self.sub_prompts)

    @torch.no_grad()
    def store(self, sub_prompts: Tensor, position: Tensor, *, position_is_learned: bool) -> None:
        """Append one task's [G, 2, L, D] and [N, D]."""
        self.sub_prompts = torch.cat([self.sub_prompts, sub_prompts[None]])
        if position_is_learned:
            self.positions = torch.cat([self.positions, position[None]])

    def stored(self, shared_position: Tensor) -> TaskPrompts:
        """The finished tasks' prompts; `shared_position` [N, D] stands in where none is kept a task."""
        positions = self.positions if len(self.positions) else shared_position[None]
        return TaskPrompts(self.sub_prompts, positions, self.slots)

    def with_live(self, sub_prompts: Tensor, position: Tensor, *, position_is_learned: bool) -> TaskPrompts:
        """The finished tasks' prompts, then the live ones of the current task."""
        positions = torch.cat([self.positions, position[None]]) if position_is_learned else position[None]
        return TaskPrompts(torch.cat([self.sub_prompts, sub_prompts[None]]), positions, self.slots)
