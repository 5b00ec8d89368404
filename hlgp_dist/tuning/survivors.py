"""How many configurations of a search are expected to go on behind each task, before anything is known of them."""

from __future__ import annotations

from hlgp_dist.config.search_options import Asha, Scheduler
from hlgp_dist.tuning.rungs import Rungs


def expected_survivors(scheduler: Scheduler, configurations: float, num_tasks: int) -> list[float]:
    """Of the configurations that begin, those that train each task, [num_tasks].

    Any order of objectives is as likely as any other, and all that come to a rung are compared with those before them.
    """
    levels = Rungs(scheduler, num_tasks).levels
    alive, found = configurations, []
    for task in range(num_tasks):
        if task in levels:  # so many tasks are finished
            assert isinstance(scheduler, Asha)
            alive = passing(alive, scheduler.reduction_factor)
        found.append(alive)
    return found


def passing(arrivals: float, factor: int) -> float:
    """Of so many at a rung; the first passes, and the i-th where it is above the 1 - 1 / factor quantile of n = i - 1.

    That lies h = (n - 1) (1 - 1 / factor) steps above the least of them, and the i-th is above it with probability
    (n - h) / (n + 1), exactly where h is whole. A part of an arrival counts for that part.
    """
    whole = int(arrivals)
    each = [1.0 if i == 1 else _above(i - 1, factor) for i in range(1, whole + 2)]
    return sum(each[:whole]) + (arrivals - whole) * each[whole]


def _above(before: int, factor: int) -> float:
    return (before - (before - 1) * (1.0 - 1.0 / factor)) / (before + 1)
