"""One Gaussian a class with a common covariance: linear discriminant analysis.

B batch, C classes seen so far, H width of the features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hlgp_dist.config.classifier_options import UnpromptedClassifier
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.statistics import ClassStatistics
from hlgp_dist.methods.unprompted import Solved

SHRINKAGE = 0.1
"""Part of the covariance replaced by its mean diagonal: with few pictures a class it has no full rank."""


class Gaussian(Solved):
    """Logits f S^-1 mu_c - mu_c S^-1 mu_c / 2: the posterior of equally frequent classes, but for a constant.

    S is the pooled scatter over (pictures - classes), shrunk.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    def __init__(self, options: UnpromptedClassifier, setting: Setting) -> None:
        super().__init__(options, setting)
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("means", torch.zeros(0, self.width))
        self.register_buffer("scatter", torch.zeros(self.width, self.width))

    def add(self, statistics: ClassStatistics) -> None:
        self.counts = torch.cat([self.counts, statistics.counts])
        self.means = torch.cat([self.means, statistics.means])
        self.scatter = self.scatter + statistics.spread

    def forward(self, features: Tensor) -> Tensor:
        directions, offsets = self.solution()
        logits: Tensor = features.double() @ directions + offsets
        return logits.float()

    def moments(self) -> Tensor:
        return self.means

    def solve(self) -> tuple[Tensor, Tensor]:
        """Directions [H, C] and offsets [C]."""
        freedom = (self.counts.sum() - len(self.counts)).clamp_min(1)
        covariance = self.scatter.double() / freedom
        scale = covariance.diagonal().mean()
        identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * identity
        directions = torch.linalg.solve(covariance, self.means.double().T)
        return directions, -0.5 * (self.means.double().T * directions).sum(0)
