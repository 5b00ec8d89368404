"""First and second moments of each class's features: what alignment, matching and nearest mean need.

C classes of the task, F width of the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Spread = Literal["none", "diagonal", "full", "pooled"]


@dataclass(frozen=True)
class ClassStatistics:
    """Moments over all ranks, on the trunk's device. counts int64 [C]; means [C, F].

    spread: biased (co)variances, `full` [C, F, F] and `diagonal` [C, F]; `pooled` is the within-class scatter [F, F],
    a sum over the pictures, not a mean; `none` is empty.
    """

    counts: Tensor
    means: Tensor
    spread: Tensor


class FeatureStream(Protocol):
    """The training pictures of the task that just ended: un-augmented, each once, shared among the ranks."""

    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """Moments of `features(images [B, 3, R, R] in 0..1) -> [B, F = width]`, reduced over the ranks."""


def class_statistics(
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    width: int,
    spread: Spread,
    reduce: Callable[[Tensor], Tensor],
    device: torch.device | str = "cpu",
) -> ClassStatistics:
    """Moments of (features [B, F] on `device`, class index int64 [B] on the host) batches.

    They are summed in float64 on the device, and reduced over the ranks once. All sums are matrix products, whose order
    of additions is fixed, unlike that of a scatter on a GPU.
    """
    shape = {"none": (0,), "diagonal": (num_classes, width), "full": (num_classes, width, width)}
    counts, sums, squares = (
        torch.zeros(size, dtype=torch.float64, device=device)
        for size in ((num_classes,), (num_classes, width), shape.get(spread, (width, width)))
    )
    for features, labels in batches:
        features = features.double()
        members = functional.one_hot(labels.to(device, non_blocking=True), num_classes).double()  # [B, C]
        counts += members.sum(0)
        sums.addmm_(members.T, features)
        if spread == "full":
            _add_products(squares, features, labels)
        elif spread == "diagonal":
            squares.addmm_(members.T, features.square())
        elif spread == "pooled":
            squares.addmm_(features.T, features)
    counts, sums, squares = reduce(counts), reduce(sums), reduce(squares)
    means = sums / counts[:, None]
    _centre_(squares, counts, means, spread)
    return ClassStatistics(counts.long(), means.float(), squares.float())


def _add_products(squares: Tensor, features: Tensor, labels: Tensor) -> None:
    """To squares [C, F, F] those of each class by itself; which pictures are its own the host knows."""
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0].to(features.device, non_blocking=True)
        own = features[rows]
        squares[label].addmm_(own.T, own)


def _centre_(squares: Tensor, counts: Tensor, means: Tensor, spread: Spread) -> None:
    """From sums of products to the spread, in their place: nothing at a task's end is as large as covariances."""
    if spread == "diagonal":
        squares.div_(counts[:, None]).sub_(means.square()).clamp_min_(0.0)
    elif spread == "pooled":
        squares.addmm_(means.T * counts, means, alpha=-1.0)
    elif spread == "full":
        squares.div_(counts[:, None, None]).baddbmm_(means[:, :, None], means[:, None, :], alpha=-1.0)
