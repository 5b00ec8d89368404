"""The linear probe: no prompts, a head on frozen features."""

from __future__ import annotations

from torch import Tensor

from hlgp_dist.methods.base import Method, Output
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Linear(Method):
    """One un-prompted pass; only the head learns."""

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        return Output(head(trunk(images)))
