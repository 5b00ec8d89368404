"""What Ray Tune is told of a trial, by its ranks and by its driver, in one order and by one thread.

Ray's own callback between the two has the thread that takes a trial's reports put in those of the ranks, too: where the
driver reports at the same moment, that thread waits for itself, and the trial for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.train import UserCallback
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Reports(UserCallback):  # type: ignore[misc]  # ray has no types here
    """Where they wait: in a process beside the driver, on its host, that Ray Train's controller reaches."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def tell(self, report: Mapping[str, Any]) -> None:
        self._queue.put(dict(report))

    def after_report(self, run_context: Any, metrics: Sequence[Mapping[str, Any]], checkpoint: Any) -> None:
        """By the controller, once all ranks have reported: the first rank's."""
        self.tell(metrics[0])

    def end(self) -> None:
        self._queue.put(None)

    def pass_on(self) -> None:
        """To Tune, one by one, until `end`."""
        while (report := self._queue.get()) is not None:
            tune.report(report)


@contextmanager
def passed_on() -> Iterator[Reports]:
    """Around what a driver does; all that was told has been taken at its end."""
    reports = Reports()
    with ThreadPoolExecutor(1) as pool:
        passing = pool.submit(reports.pass_on)
        try:
            yield reports
        finally:
            reports.end()
        passing.result()
