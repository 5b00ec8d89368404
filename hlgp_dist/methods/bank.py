"""The prompts of all tasks so far, and their weighted mixture block by block.

T tasks, G groups, N prompted layers, P parts (2: keys and values; 1: tokens), L prompt length, D width, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hlgp_dist.methods.generator import PromptShape
from hlgp_dist.methods.position import Position
from hlgp_dist.models.injection import BlockPrompt, ClsAddition, Injection, Prefix, Tokens

INSERTIONS: dict[str, Callable[[Tensor], BlockPrompt]] = {
    "prefix": Prefix,
    "tokens": lambda prompt: Tokens(prompt[:, 0]),
    "cls": lambda prompt: ClsAddition(prompt[:, :, 0]),
}
"""What `method.insertion` makes of a layer's prompt [B, P, L, D]."""


@dataclass(frozen=True)
class Layers:
    """How sub-prompts become prompts of layers: place[block] = (its n among the prompted layers, its group g)."""

    places: dict[int, tuple[int, int]]
    insertion: str
    multiplies: bool


@dataclass(frozen=True)
class TaskPrompts:
    """sub_prompts [T, G, P, L, D] and positions [T, N, D] (or [1, N, D] where all tasks share them)."""

    sub_prompts: Tensor
    positions: Tensor
    layers: Layers

    def __len__(self) -> int:
        return len(self.sub_prompts)

    def of_block(self, index: int) -> Tensor:
        """[T, P, L, D] of block `index`, which has one: S_i,g(l) + E_i,l or S_i,g(l) (1 + E_i,l)."""
        place, group = self.layers.places[index]
        own, position = self.sub_prompts[:, group], self.positions[:, place, None, None]
        return own * (1.0 + position) if self.layers.multiplies else own + position

    def mixed(self, weights: Tensor) -> Mixture:
        """An injection under task weights [1 or B, T]."""
        return Mixture(self, weights)


class Mixture(Injection):
    """sum_i w_i P_i,l of one block at a time."""

    def __init__(self, prompts: TaskPrompts, weights: Tensor) -> None:
        self.prompts = prompts
        self.weights = weights

    def prompt(self, index: int) -> Tensor:
        """[1 or B, P, L, D] of block `index`, which has one."""
        return torch.einsum("bt,tpld->bpld", self.weights, self.prompts.of_block(index))

    def layer(self, index: int) -> BlockPrompt | None:
        if index not in self.prompts.layers.places:
            return None
        return INSERTIONS[self.prompts.layers.insertion](self.prompt(index))


class PromptBank(nn.Module):
    """Frozen prompts of finished tasks. Positions are kept a task only where they are learned."""

    sub_prompts: Tensor
    positions: Tensor

    def __init__(self, layers: Layers, shape: PromptShape) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("sub_prompts", torch.zeros(0, shape.groups, shape.parts, shape.length, shape.width))
        self.register_buffer("positions", torch.zeros(0, len(layers.places), shape.width))

    def __len__(self) -> int:
        return len(self.sub_prompts)

    @torch.no_grad()
    def store(self, sub_prompts: Tensor, position: Position) -> None:
        """Append one task's [G, P, L, D] and its position."""
        self.sub_prompts = torch.cat([self.sub_prompts, sub_prompts[None]])
        if position.is_learned:
            self.positions = torch.cat([self.positions, position()[None]])

    def stored(self, position: Position) -> TaskPrompts:
        """The finished tasks' prompts."""
        return TaskPrompts(self.sub_prompts, self.positions if position.is_learned else position()[None], self.layers)

    def with_live(self, sub_prompts: Tensor, position: Position) -> TaskPrompts:
        """The finished tasks' prompts, then the live ones of the current task."""
        live = position()[None]
        positions = torch.cat([self.positions, live]) if position.is_learned else live
        return TaskPrompts(torch.cat([self.sub_prompts, sub_prompts[None]]), positions, self.layers)
