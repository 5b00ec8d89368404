"""Configurations that run once a seed, on a real Ray Tune; drivers that train nothing stand in for the trials'."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.files import write_json
from hlgp_dist.launch import judge, tuner
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.reports import passed_on
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.launch.trials import objectives
from hlgp_dist.train.folder import TRIALS, RunFolder
from hlgp_dist.tuning import course as course_of
from hlgp_dist.tuning.course import Course
from hlgp_dist.tuning.record import read_record
from tests.jobs import job
from tests.tuning.simulated import search_of

TASKS = 3


def conducted(folder: Path, shards: Path, slots: int) -> Course:
    """One configuration of two seeds, so many trials at a time."""
    config, stop = job(shards, folder / "run"), SharedStop(folder)
    search = search_of(num_samples=1, seeds=[0, 1])
    with ray_cluster(LaunchOptions()), closing(Course(folder, search, TASKS, devices_per_trial=1)) as course:
        tuner.build_tuner(config, config, RunFolder(folder), course, lambda running: running < slots, stop).fit()
        assert course.conclude() is None
    return course


def test_replicates_that_take_turns_all_come_to_their_end(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits at a rung till the other has come there, then goes on where it was."""

    def drive(sample: dict[str, Any], base: dict[str, Any], directory: str, search: str) -> None:
        folder = RunFolder(Path(search) / TRIALS / sample["trial"])
        with passed_on() as reports:
            tuner._report_again(reports, folder)
            for tasks in range(len(objectives(folder)) + 1, TASKS + 1):
                time.sleep(1.0)  # Tune hears of a task before the next is done
                folder.write_matrix([[0.5] * each for each in range(1, tasks + 1)], [False] * tasks)
                reports.tell({judge.OBJECTIVE: 0.5, judge.RUNG: tasks})
        write_json(folder.result, {"exit_code": 0, "reason": "done"})

    monkeypatch.setattr(tuner, "_drive", drive)
    course = conducted(tmp_path, drawn, slots=1)
    assert [(trial.status, len(trial.reports)) for trial in course.state.trials.values()] == [("done", TASKS)] * 2


def test_a_replicate_in_the_midst_of_a_task_is_stopped_when_another_fails(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hear of it at its next report, and in the last task there is none. Its seconds are counted meanwhile."""

    def drive(sample: dict[str, Any], base: dict[str, Any], directory: str, search: str) -> None:
        folder = RunFolder(Path(search) / TRIALS / sample["trial"])
        if sample["trial"].endswith("seed-0"):
            (folder.path / "began").touch()
            time.sleep(60.0)
            (folder.path / "went on").touch()
        else:
            while not (folder.path.parent / "trial-00000-seed-0" / "began").exists():
                time.sleep(0.1)
            write_json(folder.result, {"exit_code": 3, "reason": "no such data"})

    for seed in (0, 1):
        (tmp_path / TRIALS / f"trial-00000-seed-{seed}").mkdir(parents=True)
    monkeypatch.setattr(tuner, "_drive", drive)
    monkeypatch.setattr(course_of, "ALIVE_SECONDS", 1.0)
    course = conducted(tmp_path, drawn, slots=2)
    assert [trial.status for trial in course.state.trials.values()] == ["stopped", "failed"]
    assert not (tmp_path / TRIALS / "trial-00000-seed-0" / "went on").exists()
    kinds = [event["event"] for event in read_record(tmp_path / course_of.FILE)]
    assert "alive" in kinds and kinds[-1] == "left"
