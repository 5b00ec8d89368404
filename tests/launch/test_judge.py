"""When a trial's driver is started again, by Ray Tune's own trial; no cluster."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

from hlgp_dist.errors import DiskFull
from hlgp_dist.launch.judge import PLACE, Judge
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.train.checkpoint import NOWHERE, Place
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.tuning.course import Course
from tests.tuning.simulated import NUM_TASKS, asked_by_ray, search_of


def deaths_survived(folder: Path, places: list[Place]) -> int:
    """Of drivers that begin at these places and die, before Tune gives up; one is started again without progress."""
    with closing(Course(folder, search_of(), NUM_TASKS, devices_per_trial=1)) as course:
        trial = asked_by_ray(course, 1, folder).next_trial()
        trial.max_failures = 1
        judge = Judge(course, RunFolder(folder), SharedStop(folder), max_retries=1)
        for survived, place in enumerate(places):
            judge.on_trial_result(None, trial, {PLACE: place})
            trial.run_metadata.num_failures += 1  # as `handle_error` does, which writes files besides
            if not trial.should_recover():
                return survived
    return len(places)


def test_a_driver_is_started_again_as_long_as_the_one_before_has_saved(tmp_path: Path) -> None:
    assert deaths_survived(tmp_path / "never", [NOWHERE] * 5) == 1
    assert deaths_survived(tmp_path / "always", [NOWHERE, (0, 10), (0, 20), (1, 0), (1, 5)]) == 5
    assert deaths_survived(tmp_path / "at first", [NOWHERE, (0, 10), (0, 10), (0, 10)]) == 2


def test_a_driver_whose_disk_is_full_says_so_itself(tmp_path: Path) -> None:
    """It has no room for result.json."""
    with closing(Course(tmp_path, search_of(), NUM_TASKS, devices_per_trial=1)) as course:
        trial = asked_by_ray(course, 1, tmp_path).next_trial()
        judge = Judge(course, RunFolder(tmp_path), SharedStop(tmp_path), max_retries=1)
        full = DiskFull(errno.ENOSPC, "No space left on device", "/small/trials")
        judge.on_trial_complete(SimpleNamespace(get_live_trials=list), trial, failed(full))
        (judged,) = course.state.trials.values()
    assert (judged.status, judged.exit_code) == ("failed", 4)
    assert judged.reason == "no room left in /small/trials: No space left on device"
