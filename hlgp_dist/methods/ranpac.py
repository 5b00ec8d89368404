"""Ridge regression behind a fixed random projection (RanPAC, arXiv 2307.02251, without its first-session tuning).

The paper chooses the ridge on a part of each task; here it is an option, to be chosen on validation like any other.

B batch, C classes seen so far, F width of the trunk's features, H width of the projection.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hlgp_dist.config.classifier_options import RanPac as RanPacOptions
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.initialisation import gaussian_
from hlgp_dist.methods.statistics import ClassStatistics
from hlgp_dist.methods.unprompted import Solved
from hlgp_dist.models.seeding import Purpose, generator


class RanPac(Solved):
    """Logits h W with h = relu(f P) and W = (G + r I)^-1 C, G the Gram matrix of h, C = sum of h one-hot(y)^T.

    r = ridge * mean of G's diagonal.
    """

    gram: Tensor
    correlation: Tensor
    projection: Tensor

    def __init__(self, options: RanPacOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.width, self.ridge = options.projection_width, options.ridge
        projection = torch.empty(self.input_width, self.width)
        gaussian_(projection, 1.0, generator(setting.seed, 0, Purpose.PROJECTION))
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("gram", torch.zeros(self.width, self.width))
        self.register_buffer("correlation", torch.zeros(0, self.width))

    def embed(self, features: Tensor) -> Tensor:
        return functional.relu(features @ self.projection)

    def add(self, statistics: ClassStatistics) -> None:
        counts, means = statistics.counts, statistics.means
        self.gram = self.gram + statistics.spread + (means.T * counts) @ means
        self.correlation = torch.cat([self.correlation, means * counts[:, None]])

    def forward(self, features: Tensor) -> Tensor:
        (weights,) = self.solution()
        return features @ weights

    def moments(self) -> Tensor:
        return self.correlation

    def solve(self) -> tuple[Tensor]:
        """W [H, C]."""
        gram = self.gram.double()
        gram.diagonal().add_(self.ridge * gram.diagonal().mean())
        root = torch.linalg.cholesky(gram)
        return (torch.cholesky_solve(self.correlation.double().T, root).float(),)
