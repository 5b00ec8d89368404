"""Classifier alignment: the head is retrained on Gaussian features of every class seen so far.

Statistics are taken with the prompts of the class's own task alone, so they do not drift (METHOD 6.0c).
C classes seen so far, F width of the feature.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config.schema import GaussianAlignment
from hlgp_dist.methods.initialisation import gaussian_
from hlgp_dist.methods.statistics import ClassStatistics, Spread
from hlgp_dist.models.head import Head
from hlgp_dist.models.seeding import Purpose, generator

RIDGE = 1e-4
"""Added to variances: with fewer pictures than features a covariance is singular."""
WEIGHT_DECAY = 5e-4


class ClassMemory(nn.Module):
    """Means [C, F] and spreads ([C, F] or [C, F, F]) of all classes so far, on the host."""

    means: Tensor
    spreads: Tensor

    def __init__(self, width: int, spread: Spread) -> None:
        super().__init__()
        self.spread: Spread = spread
        self.register_buffer("means", torch.zeros(0, width))
        self.register_buffer("spreads", torch.zeros(0, width, width) if spread == "full" else torch.zeros(0, width))

    def add(self, statistics: ClassStatistics) -> None:
        """Remember the classes of one more task."""
        device = self.means.device
        self.means = torch.cat([self.means, statistics.means.to(device)])
        self.spreads = torch.cat([self.spreads, statistics.spread.to(device)])

    def sampler(self, random: torch.Generator, device: torch.device) -> GaussianSampler:
        """Draws features of the remembered classes on `device`."""
        return GaussianSampler(self.means.to(device), self._roots(device), random)

    def _roots(self, device: torch.device) -> Tensor:
        if self.spread == "diagonal":
            return (self.spreads.to(device) + RIDGE).sqrt()
        return torch.stack([_root(covariance.to(device).double()).float() for covariance in self.spreads])


def _root(covariance: Tensor) -> Tensor:
    """Lower triangular [F, F]; the ridge grows with the features, since so does what rounding takes away."""
    ridge = RIDGE * covariance.diagonal().mean().clamp_min(1.0)
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    root: Tensor = torch.linalg.cholesky(covariance + ridge * identity)
    return root


class GaussianSampler:
    """Features drawn class by class from N(mean, root root^T): what is random on the host, the rest on the device."""

    def __init__(self, means: Tensor, roots: Tensor, random: torch.Generator) -> None:
        self.means, self.roots, self.random = means, roots, random

    def draw(self, per_class: int) -> tuple[Tensor, Tensor]:
        """Shuffled features [C * per_class, F] and their labels."""
        classes, width = self.means.shape
        device = self.means.device
        noise = torch.empty(classes, per_class, width, device=device)
        gaussian_(noise, 1.0, self.random)
        spread = noise * self.roots[:, None] if self.roots.ndim == 2 else noise @ self.roots.mT
        features = spread.add_(self.means[:, None]).flatten(0, 1)
        del noise  # as large as what was made of it, which follows once more in another order
        labels = torch.arange(classes, device=device).repeat_interleave(per_class)
        order = torch.randperm(len(labels), generator=self.random, device="cpu").to(device)
        return features[order], labels[order]


def align(
    head: Head,
    memory: ClassMemory,
    options: GaussianAlignment,
    *,
    seed: int,
    task_index: int,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """New head rows ([C, F], [C]) by SGD with a cosine rate on drawn features, where the head is, which stays as it is.

    beat: called at every step.
    """
    weight, bias = map(nn.Parameter, head.rows())
    sampler = memory.sampler(generator(seed, task_index, Purpose.ALIGNMENT), weight.device)
    optimizer = torch.optim.SGD(
        [weight, bias], lr=options.learning_rate, momentum=options.momentum, weight_decay=WEIGHT_DECAY
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    def epoch(features: Tensor, labels: Tensor) -> None:
        for some, targets in zip(features.split(options.batch_size), labels.split(options.batch_size), strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(functional.linear(some, weight, bias), targets).backward()
            optimizer.step()
            beat()

    for _ in range(options.epochs):
        epoch(*sampler.draw(options.samples_per_class))  # and nothing is left of them at the next draw
        cosine.step()
    return weight.detach(), bias.detach()
