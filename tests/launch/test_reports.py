"""What a trial tells, on a real Ray Tune."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.reports import Reports, passed_on

EACH = 20


class Taken(tune.Callback):  # type: ignore[misc]
    """Keeps what Tune was told, and is slow to take it."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int]] = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
        self.reports.append((result["by"], result["number"]))
        time.sleep(0.05)


def test_all_that_ranks_and_driver_tell_at_the_same_time_is_taken_in_their_order(tmp_path: Path) -> None:
    """With Ray's own callback the trial hung for ever where both had told at the same moment."""

    def as_a_controller(reports: Reports) -> None:
        for number in range(EACH):
            reports.after_report(None, [{"by": "ranks", "number": number}, {"by": "the second"}], None)

    def drive(_: dict[str, Any]) -> None:
        with passed_on() as reports:
            controller = ray.remote(num_cpus=0)(as_a_controller).remote(reports)
            for number in range(EACH):
                reports.tell({"by": "driver", "number": number})
            ray.get(controller)

    with ray_cluster(LaunchOptions()):
        taken = Taken()
        run = tune.RunConfig(name="ray", storage_path=str(tmp_path), callbacks=[taken], verbose=0)
        tune.Tuner(tune.with_resources(drive, {"CPU": 0.1}), run_config=run).fit()
    for by in ("ranks", "driver"):
        assert [number for each, number in taken.reports if each == by] == list(range(EACH))
