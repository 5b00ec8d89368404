"""What a few seeds allow to be said: mean and deviation of one method, an interval for the difference of two."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
FEWEST_SEEDS = 3
"""Below it nothing is known of how a method varies, and an interval would pretend so."""
_STREAM = 0


@dataclass(frozen=True)
class Spread:
    """`deviation` is the sample standard deviation (n - 1), None for a single value."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Interval:
    """A mean difference and its bootstrap interval, whose ends are None where there are too few seeds for one."""

    difference: float
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation)


def paired_bootstrap(differences: Sequence[Sequence[float]]) -> Interval:
    """The 95 % percentile interval of the mean of `differences` [seeds, tasks], each paired by seed and by task.

    A resample draws seeds with replacement and, apart from them, tasks with replacement; the same tasks for every seed,
    since all seeds share them (a crossed, or pigeonhole, bootstrap: Owen 2007). A task comes with its test pictures, so
    drawing tasks also stands for drawing other pictures, which cannot be drawn singly: a run keeps counts alone. The
    interval is for other seeds and other tasks like these; one over seeds alone would be narrower and speak of these
    tasks and pictures only. docs/metrics.md says how often it covers the truth with few seeds. Same input, same output.
    """
    table = np.asarray(differences, dtype=np.float64)
    num_seeds, num_tasks = table.shape
    mean = float(table.mean())
    if num_seeds < FEWEST_SEEDS:
        return Interval(mean, None, None)
    random = np.random.default_rng(_STREAM)
    seeds = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=RESAMPLES) / num_seeds
    tasks = random.multinomial(num_tasks, np.full(num_tasks, 1 / num_tasks), size=RESAMPLES) / num_tasks
    means = np.einsum("rs,st,rt->r", seeds, table, tasks)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))
