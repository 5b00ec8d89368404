"""A head on the trunk's own features: the linear probe, and full fine-tuning where the trunk trains too."""

from __future__ import annotations

from torch import Tensor

from hlgp_dist.methods.base import Method, Output
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Linear(Method):
    """One un-prompted pass. It has no parameters of its own."""

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        return Output(head(trunk(images)))
