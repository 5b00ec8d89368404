"""Ridge regression behind a fixed random projection (RanPAC, arXiv 2307.02251, without its first-session tuning).

B batch, C classes seen so far, F width of the trunk's features, H width of the projection.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hlgp_dist.config.method_options import RanPac as RanPacOptions
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.initialisation import gaussian_
from hlgp_dist.methods.statistics import ClassStatistics
from hlgp_dist.methods.unprompted import ClosedForm
from hlgp_dist.models.seeding import Purpose, generator

RIDGES = tuple(10.0**power for power in range(-8, 9))


class RanPac(ClosedForm):
    """Logits h W with h = relu(f P) and W = (G + ridge I)^-1 C, G the Gram matrix of h, C = sum of h one-hot(y)^T."""

    gram: Tensor
    correlation: Tensor
    count: Tensor
    projection: Tensor

    def __init__(self, options: RanPacOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.width = options.projection_width
        projection = torch.empty(self.input_width, self.width)
        gaussian_(projection, 1.0, generator(setting.seed, 0, Purpose.PROJECTION))
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("gram", torch.zeros(self.width, self.width))
        self.register_buffer("correlation", torch.zeros(0, self.width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._solved_for: Tensor | None = None

    def embed(self, features: Tensor) -> Tensor:
        return functional.relu(features @ self.projection)

    def add(self, statistics: ClassStatistics) -> None:
        device = self.gram.device
        counts, means = statistics.counts.to(device), statistics.means.to(device)
        self.gram = self.gram + statistics.spread.to(device) + (means.T * counts) @ means
        self.correlation = torch.cat([self.correlation, means * counts[:, None]])
        self.count = self.count + counts.sum()

    def forward(self, features: Tensor) -> Tensor:
        if self._solved_for is not self.correlation:
            self._weights = ridge_weights(self.gram.double(), self.correlation.double().T, int(self.count)).float()
            self._solved_for = self.correlation
        return features @ self._weights


def ridge_weights(gram: Tensor, correlation: Tensor, count: int) -> Tensor:
    """W [H, C] = (G + ridge I)^-1 C with the ridge of RIDGES that minimises the generalised cross-validation score.

    The score is count * RSS / (count - dof)^2 with dof = trace of G (G + ridge I)^-1 (Golub, Heath, Wahba 1979). It
    needs nothing but moments: with one-hot targets RSS = count - 2 tr(W^T C) + tr(W^T G W).
    """
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp_min(0.0)
    rotated = vectors.T @ correlation
    power = rotated.square().sum(1)

    def score(ridge: float) -> float:
        shrunk = values + ridge
        residual = count - (2.0 * power / shrunk - values * power / shrunk.square()).sum()
        freedom = count - (values / shrunk).sum()
        return float(count * residual.clamp_min(0.0) / freedom.clamp_min(1e-6 * count).square())

    best = min(RIDGES, key=score)
    weights: Tensor = vectors @ (rotated / (values + best)[:, None])
    return weights
