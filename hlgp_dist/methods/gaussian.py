"""A Gaussian classifier with one shared covariance on un-prompted features: the `auxiliary` of task matching.

It needs no training and no old picture: class means and the pooled scatter add up over tasks.
C classes seen so far, F width of the feature, B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlgp_dist.methods.statistics import ClassStatistics

SHRINKAGE = 0.1
"""Part of the covariance replaced by its mean diagonal: with few pictures a class it has no full rank."""


class GaussianClassifier(nn.Module):
    """Linear discriminant analysis: logits f S^-1 mu_c - mu_c S^-1 mu_c / 2."""

    counts: Tensor
    means: Tensor
    scatter: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("means", torch.zeros(0, width))
        self.register_buffer("scatter", torch.zeros(width, width))
        self._solved_for: Tensor | None = None

    def add(self, statistics: ClassStatistics) -> None:
        """Learn the classes of one more task from their `pooled` statistics."""
        device = self.means.device
        self.counts = torch.cat([self.counts, statistics.counts.to(device)])
        self.means = torch.cat([self.means, statistics.means.to(device)])
        self.scatter = self.scatter + statistics.spread.to(device)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C]."""
        if self._solved_for is not self.means:
            self._directions, self._offsets, self._solved_for = *self._solve(), self.means
        logits: Tensor = features.double() @ self._directions + self._offsets
        return logits.float()

    def _solve(self) -> tuple[Tensor, Tensor]:
        """Directions [F, C] and offsets [C]: the same until the next task."""
        freedom = (self.counts.sum() - len(self.counts)).clamp_min(1)
        covariance = self.scatter.double() / freedom
        scale = covariance.diagonal().mean()
        identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * identity
        directions = torch.linalg.solve(covariance, self.means.double().T)
        return directions, -0.5 * (self.means.double().T * directions).sum(0)
