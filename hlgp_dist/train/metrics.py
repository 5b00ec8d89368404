"""Continual-learning metrics as pure functions of an accuracy matrix. docs/metrics.md states the formulae.

a[t][i] is the accuracy on task i's test pictures after training task t (i <= t), T the number of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]
"""Lower triangle: row t holds a[t][0] .. a[t][t]."""


def average_accuracy(row: Sequence[float]) -> float:
    """A_t: the mean over tasks (macro) of one row."""
    return fmean(row)


def cumulative_average_accuracy(matrix: Matrix) -> float:
    """The mean over t of A_t."""
    return fmean(fmean(row) for row in matrix)


def micro_accuracy(row: Sequence[float], num_images: Sequence[int]) -> float:
    """Accuracy over all test pictures of the seen tasks together; equals A_t only for equal task sizes."""
    counts = num_images[: len(row)]
    return sum(a * n for a, n in zip(row, counts, strict=True)) / sum(counts)


def forgetting(matrix: Matrix) -> float:
    """FM: mean over i < T of max_t a[t][i] - a[T][i], the maximum over all rows, the last included."""
    last = len(matrix) - 1
    if last == 0:
        return 0.0
    return fmean(max(matrix[t][i] for t in range(i, last + 1)) - matrix[last][i] for i in range(last))


def backward_transfer(matrix: Matrix) -> float:
    """BWT: mean over i < T of a[T][i] - a[i][i]."""
    last = len(matrix) - 1
    if last == 0:
        return 0.0
    return fmean(matrix[last][i] - matrix[i][i] for i in range(last))


def plasticity(matrix: Matrix) -> float:
    """The mean over t of a[t][t]: how well each task is learned when it comes."""
    return fmean(row[-1] for row in matrix)


def summary(matrix: Matrix, num_images: Sequence[int]) -> dict[str, float]:
    """Every metric of the tasks finished so far, by its name in `result.json`."""
    return {
        "average_accuracy": average_accuracy(matrix[-1]),
        "cumulative_average_accuracy": cumulative_average_accuracy(matrix),
        "micro_accuracy": micro_accuracy(matrix[-1], num_images),
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
        "plasticity": plasticity(matrix),
    }
