"""First and second moments of each class's features: what alignment, matching and nearest mean need.

C classes of the task, F width of the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Spread = Literal["none", "diagonal", "full", "pooled"]


@dataclass(frozen=True)
class ClassStatistics:
    """Moments over all ranks. counts int64 [C]; means [C, F].

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
) -> ClassStatistics:
    """Moments of (features [B, F], class index int64 [B]) batches, summed in float64 and reduced over ranks once."""
    counts = torch.zeros(num_classes, dtype=torch.float64)
    sums = torch.zeros(num_classes, width, dtype=torch.float64)
    shape = {"none": (0,), "diagonal": (num_classes, width), "full": (num_classes, width, width)}
    squares = torch.zeros(shape.get(spread, (width, width)), dtype=torch.float64)
    for features, labels in batches:
        features, labels = features.double().cpu(), labels.cpu()
        counts += torch.bincount(labels, minlength=num_classes)
        sums.index_add_(0, labels, features)
        _add_squares(squares, features, labels, spread)
    counts, sums, squares = reduce(counts), reduce(sums), reduce(squares)
    means = sums / counts[:, None]
    return ClassStatistics(counts.long(), means.float(), _central(squares, counts, means, spread).float())


def _add_squares(squares: Tensor, features: Tensor, labels: Tensor, spread: Spread) -> None:
    if spread == "diagonal":
        squares.index_add_(0, labels, features.square())
    elif spread == "pooled":
        squares += features.T @ features
    elif spread == "full":
        for label in set(labels.tolist()):
            own = features[labels == label]
            squares[label] += own.T @ own


def _central(squares: Tensor, counts: Tensor, means: Tensor, spread: Spread) -> Tensor:
    if spread == "none":
        return squares
    if spread == "diagonal":
        return (squares / counts[:, None] - means.square()).clamp_min(0.0)
    if spread == "pooled":
        return squares - (means.T * counts) @ means
    return squares / counts[:, None, None] - means[:, :, None] * means[:, None, :]
