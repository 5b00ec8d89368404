"""Nearest class mean by cosine on frozen features (SimpleCIL): no gradients, no forgetting by construction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hlgp_dist.methods.base import Method, Output
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class NearestMean(Method):
    """Logits are cosines to the class means [C, F]."""

    has_gradients = False
    means: Tensor

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(0, feature_width))

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        return Output(functional.linear(functional.normalize(trunk(images)), functional.normalize(self.means)))

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        means = stream.statistics(trunk, "none").means
        self.means = torch.cat([self.means, means.to(self.means.device)])
