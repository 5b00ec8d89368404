"""Asynchronous successive halving: at each rung a configuration is compared with those that got there before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hlgp_dist.config.search_options import Asha, Scheduler

Stratum = str
"""What only like is compared within: a slower-starting large backbone is not judged by a small one."""
STRATIFIED = ("backbone.",)
"""Keys whose values make a stratum; `benchmark.*` and `data.*` are the same in all trials of a search."""


def stratum_of(values: Mapping[str, Any]) -> Stratum:
    """Of a configuration's values."""
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()) if key.startswith(STRATIFIED))


class Rungs:
    """The objectives that configurations reached each rung with, a rung being a number of finished tasks."""

    def __init__(self, scheduler: Scheduler, num_tasks: int) -> None:
        self.levels = _levels(scheduler, num_tasks) if isinstance(scheduler, Asha) else ()
        self._kept = 1 / scheduler.reduction_factor if isinstance(scheduler, Asha) else 1.0
        self.table: dict[tuple[Stratum, int], dict[int, float]] = {}

    def is_below(self, stratum: Stratum, tasks: int, value: float) -> bool:
        """Whether those before it say that a configuration should end here: it is not in their upper 1 / factor."""
        before = list(self.table.get((stratum, tasks), {}).values())
        return bool(before) and value < float(np.quantile(before, 1.0 - self._kept))

    def record(self, stratum: Stratum, tasks: int, configuration: int, value: float) -> None:
        """A configuration has reached the rung; it does so once."""
        rung = self.table.setdefault((stratum, tasks), {})
        assert configuration not in rung, "a rung counts a configuration once"
        rung[configuration] = value


def _levels(asha: Asha, num_tasks: int) -> tuple[int, ...]:
    """Grace, then each time `reduction_factor` as many tasks; after the last task there is nothing to stop."""
    levels, level = [], asha.grace_tasks
    while level < num_tasks:
        levels.append(level)
        level *= asha.reduction_factor
    return tuple(levels)
