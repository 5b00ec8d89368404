"""How far a run has come and what it has measured."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from statistics import fmean

from hlgp_dist.train.checkpoint import Checkpoint, Position
from hlgp_dist.train.supply import Skipped


@dataclass
class Progress:
    """What a run has done so far; all of it goes into every checkpoint.

    right[t][i]: test pictures of task i classified right after stage t; task_right[t][i]: whose task was found;
    tested[t][i]: of how many; totals[i]: how many there are; final: what only the last evaluation measures;
    task_confusion[i][j]: the mean weight that pictures of task i gave to task j's prompts in the newest test, no rows
    where the method gives none;
    bytes_read[t]: of the shards, when the training pictures of stage t were decoded; decoded_images[t]: by this run's
    ranks during stage t; skipped: bad training pictures; passes: through the trunk that a picture takes in training
    and in test; trained_parameters: of the newest stage, head apart.
    """

    position: Position = field(default_factory=Position)
    passes: dict[str, int] = field(default_factory=dict)
    trained_parameters: int = 0
    right: list[list[int]] = field(default_factory=list)
    task_right: list[list[int]] = field(default_factory=list)
    tested: list[list[int]] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    final: dict[str, float | None] = field(default_factory=dict)
    task_confusion: list[list[float]] = field(default_factory=list)
    bytes_read: list[int] = field(default_factory=list)
    decoded_images: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    trained_images: int = 0
    trained_seconds: float = 0.0

    def matrix(self) -> list[list[float]]:
        """a[t][i], the lower triangle."""
        return [_ratios(*rows) for rows in zip(self.right, self.tested, strict=True)]

    def sampled(self) -> list[bool]:
        """Of each row of the matrix whether some of it was measured on a part of a task's pictures."""
        return [any(map(operator.ne, row, self.totals)) for row in self.tested]

    def task_identification(self) -> float:
        """Part of the test pictures whose task was found after the last task so far, mean over tasks (macro)."""
        return fmean(_ratios(self.task_right[-1], self.tested[-1]))


def progress_of(checkpoint: Checkpoint) -> Progress:
    """What had been done and measured when a checkpoint was saved."""
    saved = dict(checkpoint.record["progress"])
    saved.setdefault("tested", [saved["totals"][: len(row)] for row in saved["right"]])  # once always all
    return Progress(position=checkpoint.position, **saved)


def _ratios(right: list[int], tested: list[int]) -> list[float]:
    return [part / whole for part, whole in zip(right, tested, strict=True)]
