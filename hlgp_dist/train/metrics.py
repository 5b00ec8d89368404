"""Continual-learning metrics as pure functions of an accuracy matrix. docs/metrics.md states the formulae.

a[t][i] is the accuracy on task i's test pictures after training task t (i <= t), T the number of tasks. Where all tasks
are learned at once there is one row of T > 1 values and no history: what needs one is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

Matrix = Sequence[Sequence[float]]
"""Lower triangle: row t holds a[t][0] .. a[t][t]; or the one row of tasks that were learned at once."""
Numbers = dict[str, float | None]
"""Metrics by name, None where a metric has no meaning."""


class Metric(NamedTuple):
    """What a metric is called: in `result.json`, as a curve below `task/` or `val/`, in a list, as a column.

    None where it does not stand there. reads: which of the matrix's rows it is made of, or none but its diagonal.
    """

    in_result: str
    tag: str | None
    title: str | None
    column: str | None
    reads: Literal["last", "all", "diagonal"] = "last"


METRICS = {
    "average_accuracy": Metric("final_average_accuracy", "acc1_avg", "final average accuracy", "final"),
    "cumulative_average_accuracy": Metric(
        "cumulative_average_accuracy", "acc1_cum_avg", "cumulative average accuracy", "cumulative", "all"
    ),
    "micro_accuracy": Metric("final_micro_accuracy", "acc1_micro", None, "final, micro"),
    "forgetting": Metric("forgetting", "forgetting", "forgetting", "forgetting", "all"),
    "plasticity": Metric("plasticity", "plasticity", "plasticity", "plasticity", "diagonal"),
    "task_identification_accuracy": Metric(
        "task_identification_accuracy", "task_id_acc", "task identification", "task found"
    ),
    "oracle_task_accuracy": Metric("oracle_task_accuracy", None, "accuracy, oracle task prompts", "oracle task"),
    "within_task_accuracy": Metric("within_task_accuracy", None, "accuracy within the true task", "within task"),
    "backward_transfer": Metric("backward_transfer", "bwt", None, None),
}
"""By the name that it has while a run goes on."""
PEERS_OF_ALL_ROWS = ("pilot_average", "coda_forgetting", "vq_forgetting")
"""Of `peer_summary`; the others read the last row and the diagonal."""


def estimates(sampled: Sequence[bool]) -> frozenset[str]:
    """Of METRICS those that rest on a part of some task's pictures.

    sampled: of each row of the matrix, whether tasks before its own were tested in part; its own never is.
    """
    rests = {"last": sampled[-1], "all": any(sampled), "diagonal": False}
    return frozenset(name for name, metric in METRICS.items() if rests[metric.reads])


def has_history(matrix: Matrix) -> bool:
    """Whether there is a row after each task; true of a single task."""
    return len(matrix) == len(matrix[-1])


def average_accuracy(row: Sequence[float]) -> float:
    """A_t: the mean over tasks (macro) of one row."""
    return fmean(row)


def cumulative_average_accuracy(matrix: Matrix) -> float | None:
    """The mean over t of A_t."""
    return fmean(fmean(row) for row in matrix) if has_history(matrix) else None


def micro_accuracy(row: Sequence[float], num_images: Sequence[int]) -> float:
    """Accuracy over all test pictures of the seen tasks together; equals A_t only for equal task sizes."""
    counts = num_images[: len(row)]
    return sum(a * n for a, n in zip(row, counts, strict=True)) / sum(counts)


def cumulative_micro_accuracy(matrix: Matrix, num_images: Sequence[int]) -> float | None:
    """PILOT's A-bar: the mean over t of the micro accuracy after task t."""
    return fmean(micro_accuracy(row, num_images) for row in matrix) if has_history(matrix) else None


def task_forgetting(matrix: Matrix) -> list[float] | None:
    """max_t a[t][i] - a[T][i] of each task i < T, the maximum over all rows, the last included: never negative."""
    if not has_history(matrix):
        return None
    last = len(matrix) - 1
    return [max(row[i] for row in matrix[i:]) - matrix[last][i] for i in range(last)]


def forgetting(matrix: Matrix) -> float | None:
    """FM: the mean over i < T of `task_forgetting`; a single task has forgotten nothing."""
    return _mean_lost(task_forgetting(matrix))


def forgetting_from_earlier_rows(matrix: Matrix) -> float | None:
    """FM with the maximum over t < T alone (VQ-Prompt): negative where the last row is a task's best."""
    if not has_history(matrix):
        return None
    last = len(matrix) - 1
    return _mean_lost([max(row[i] for row in matrix[i:last]) - matrix[last][i] for i in range(last)])


def stepwise_forgetting(matrix: Matrix) -> float | None:
    """CODA-Prompt's: the mean over t = 2..T of the mean over i < t of a[t-1][i] - a[t][i], a drop from row to row."""
    if not has_history(matrix):
        return None
    drops = [
        fmean(before - after for before, after in zip(matrix[t - 1], matrix[t], strict=False))
        for t in range(1, len(matrix))
    ]
    return _mean_lost(drops)


def backward_transfer(matrix: Matrix) -> float | None:
    """BWT: the mean over i < T of a[T][i] - a[i][i]."""
    if not has_history(matrix):
        return None
    return _mean_lost([matrix[-1][i] - matrix[i][i] for i in range(len(matrix) - 1)])


def forgetting_from_diagonal(matrix: Matrix) -> float | None:
    """APT's "general" forgetting: the mean over i < T of a[i][i] - a[T][i], which is -BWT."""
    if not has_history(matrix):
        return None
    return _mean_lost([matrix[i][i] - matrix[-1][i] for i in range(len(matrix) - 1)])


def plasticity(matrix: Matrix) -> float | None:
    """The mean over t of a[t][t]: how well each task is learned when it comes."""
    return fmean(row[-1] for row in matrix) if has_history(matrix) else None


def summary(matrix: Matrix, num_images: Sequence[int]) -> Numbers:
    """Of METRICS those that follow from the matrix of the tasks finished so far."""
    return {
        "average_accuracy": average_accuracy(matrix[-1]),
        "cumulative_average_accuracy": cumulative_average_accuracy(matrix),
        "micro_accuracy": micro_accuracy(matrix[-1], num_images),
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
        "plasticity": plasticity(matrix),
    }


def of_result(matrix: Matrix, num_images: Sequence[int]) -> Numbers:
    """What follows from the matrix of a finished run, by its name in `result.json`."""
    numbers = summary(matrix, num_images)
    return {METRICS[name].in_result: value for name, value in numbers.items()}


def estimated_in_result(sampled: Sequence[bool]) -> list[str]:
    """The dotted keys of `result.json` whose numbers are estimates; see `estimates`."""
    own, peers = estimates(sampled), PEERS_OF_ALL_ROWS if any(sampled) else ()
    return [metric.in_result for name, metric in METRICS.items() if name in own] + [f"peer_metrics.{n}" for n in peers]


def peer_summary(matrix: Matrix, num_images: Sequence[int]) -> Numbers:
    """What other code bases report, under their names for it: `peer_metrics` of `result.json`."""
    return {
        "pilot_average": cumulative_micro_accuracy(matrix, num_images),
        "pilot_last": micro_accuracy(matrix[-1], num_images),
        "coda_global": average_accuracy(matrix[-1]),
        "coda_forgetting": stepwise_forgetting(matrix),
        "apt_general_forgetting": forgetting_from_diagonal(matrix),
        "vq_forgetting": forgetting_from_earlier_rows(matrix),
    }


def measured(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Without those that have no meaning: a curve has no point for None."""
    return {name: value for name, value in numbers.items() if value is not None}


def _mean_lost(values: Sequence[float] | None) -> float | None:
    """None stays None; with a single task there is nothing to lose."""
    if values is None:
        return None
    return fmean(values) if values else 0.0
