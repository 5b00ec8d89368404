"""What every method is: HLGP, its baselines and rivals implement this and share everything else.

B batch, C classes seen so far, T tasks seen so far, F width of the feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.diagnostics import Diagnostics
from hlgp_dist.methods.matching import one_hot_weights
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Dimensions, Trunk
from hlgp_dist.types import TaskSpec


@dataclass(frozen=True)
class Setting:
    """What a method is built for, beside its own options.

    stream_length: how many tasks the whole stream has, of which `tasks` may be the first (`benchmark.max_tasks`).
    """

    dimensions: Dimensions
    tasks: tuple[TaskSpec, ...]
    seed: int
    stream_length: int | None = None

    @property
    def num_tasks(self) -> int:
        """Of the whole stream."""
        return len(self.tasks) if self.stream_length is None else self.stream_length

    def require_cls(self, option: str) -> None:
        """Raise ConfigError where the trunk has no CLS token for `method.{option}` to change."""
        if not self.dimensions.has_cls:
            raise ConfigError(f"method.{option}: the backbone has no CLS token to add to")

    def layers(self, option: str, blocks: Sequence[int] | None) -> tuple[int, ...]:
        """Block indices that get a prompt: all, or those that `method.{option}` lists.

        Raises:
            ConfigError: a listed block does not exist.
        """
        depth = self.dimensions.depth
        if blocks is None:
            return tuple(range(depth))
        beyond = [block for block in blocks if block >= depth]
        if beyond:
            raise ConfigError(f"method.{option}: blocks {beyond} do not exist, the backbone has 0..{depth - 1}")
        return tuple(blocks)


class Output(NamedTuple):
    """logits [B, C] over the seen classes; task_weights [B, T] if the method weights tasks per picture.

    penalties [B]: what training adds to each picture's cross-entropy.
    """

    logits: Tensor
    task_weights: Tensor | None = None
    penalties: Tensor | None = None


class Method(nn.Module):
    """A method owns its passes through the trunk. Its parameters are what it trains, its buffers its memory."""

    has_gradients = True
    """Whether there is anything to train; without, the run needs no engine."""

    takes_task_weights = False
    """Whether `forward` takes the weights of the tasks from outside (the oracle)."""

    first_block = 0
    """No pass prompts a block before it: what is below is the same in all passes over a picture, and computed once."""

    def begin_task(self, task: TaskSpec) -> None:
        """Make what the task trains."""

    def trained(self, task: TaskSpec) -> list[nn.Parameter]:
        """Of the method's parameters those that this task trains."""
        return list(self.parameters())

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        """Features [B, F] as seen with the prompts of one task alone: what class statistics are taken of."""
        features: Tensor = trunk(images)
        return features

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        """Logits of pictures [B, 3, R, R] in 0..1 after (or while training) `task`.

        weights: [1 or B, T], given by an oracle in place of the method's own task matching.
        """
        raise NotImplementedError

    def known_task(self, task_index: int, num_tasks: int, device: torch.device) -> Tensor:
        """The weights [1, T] under which a picture of that task is seen by a method that knows its task."""
        return one_hot_weights(task_index, num_tasks, device)

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        """Freeze what the task trained and remember what later tasks need."""

    def diagnostics(self) -> Diagnostics:
        """How alike the prompts are after the tasks so far, for TensorBoard; by default there is nothing to tell.

        The first rank alone asks, at a task's end: it reads, draws nothing and waits for no other rank.
        """
        return Diagnostics()

    def memory(self) -> list[Tensor]:
        """What is saved beside the parameters: the buffers that a state holds."""
        trained = dict(self.named_parameters())
        return [tensor for name, tensor in self.state_dict().items() if name not in trained]

    def kept(self) -> list[Tensor]:
        """What predictions need after the tasks so far, head apart."""
        return [*self.parameters(), *self.memory()]

    @torch.no_grad()
    def num_stored_parameters(self) -> int:
        """Numbers in what is kept."""
        return sum(tensor.numel() for tensor in self.kept())
