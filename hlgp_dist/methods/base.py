"""What every method is: HLGP, its baselines and rivals implement this and share everything else.

B batch, C classes seen so far, T tasks seen so far, F width of the feature.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Output(NamedTuple):
    """logits [B, C] over the seen classes; task_weights [B, T] if the method weights tasks per picture."""

    logits: Tensor
    task_weights: Tensor | None = None


class Method(nn.Module):
    """A method owns its passes through the trunk. Its parameters are the prompts, its buffers its memory."""

    has_gradients = True
    """Whether there is anything to train; without, the run needs no engine."""

    takes_task_weights = False
    """Whether `forward` takes the weights of the tasks from outside (the oracle)."""

    def begin_task(self, task: TaskSpec) -> None:
        """Make what the task trains."""

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

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        """Freeze what the task trained and remember what later tasks need."""

    @torch.no_grad()
    def num_stored_parameters(self) -> int:
        """Numbers kept after the tasks so far, head apart."""
        trained = dict(self.named_parameters())
        return sum(tensor.numel() for name, tensor in self.state_dict().items() if name not in trained)
