"""Which checkpoints stay beside the newest."""

from __future__ import annotations

from statistics import fmean

from hlgp_dist.config.schema import CheckpointOptions
from hlgp_dist.train.checkpoint import Place
from hlgp_dist.train.metrics import Matrix


def is_kept(options: CheckpointOptions, matrix: Matrix, place: Place) -> bool:
    """Whether a checkpoint stays although newer ones are enough; matrix: of the tasks finished by now."""
    task, step = place
    if step > 0 or task == 0:
        return False
    return options.keep_task_ends or (options.keep_best and task - 1 == best_task(matrix))


def best_task(matrix: Matrix) -> int | None:
    """The one after which the average accuracy was best, the latest of them."""
    averages = [fmean(row) for row in matrix]
    return max(range(len(averages)), key=lambda task: (averages[task], task)) if averages else None
