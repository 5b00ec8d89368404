"""Trials whose rank or driver is killed again and again: they end with a reason, and the others go on."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.files import write_json
from hlgp_dist.launch import judge, tuner
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.reports import passed_on
from hlgp_dist.launch.search import run_search
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.train.checkpoint import RECORD, newest_place
from hlgp_dist.train.folder import TRIALS, RunFolder
from hlgp_dist.tuning.course import Course
from tests.failing import Fault, inject
from tests.jobs import job
from tests.tuning.simulated import search_of

pytestmark = pytest.mark.soak
SEARCH = "search={space: {optimizer.prompt_lr: {grid: [0.01, 0.02]}}, num_samples: 1, scheduler: {kind: fifo}}"
OPTIONS = ("train.epochs=1", "benchmark.max_tasks=2", "launch.kind=ray", "launch.max_retries=1")
RETRIES = "retries exhausted: launch.max_retries=1 in a row saved nothing new; the last: rank 0 was lost: "


def test_a_rank_killed_at_the_same_step_ends_its_trial_and_no_other(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, tmp_path / "faults", Fault("kill", 0, 0, 1, each_time_in="trial-00000"))
    folder, outcome = run_search(job(drawn, tmp_path / "search", SEARCH, *OPTIONS), "job", lambda folder, rows: None)
    killed = folder.below("trials", "trial-00000")
    result = killed.read_result()
    assert result is not None and result["exit_code"] == 1 and result["reason"].startswith(RETRIES)
    assert [attempt["failure"] for attempt in killed.read_attempts()] == ["LostWorker"] * 2
    assert [(row["status"], row["reason"]) for row in outcome["trials"]] == [("failed", result["reason"]), ("done", "")]
    assert outcome == json.loads(folder.result.read_text())
    assert outcome["exit_code"] == 7 and outcome["best_trial"] == "trial-00001"
    assert outcome["reason"].startswith(f"1 of 2 trials failed, first trial-00000: {RETRIES}")


def test_a_driver_that_dies_is_started_again_and_not_for_ever(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drive(sample: dict[str, Any], base: dict[str, Any], directory: str, search: str) -> None:
        """The first trial's dies once, the second's each time, the third's twice, after a checkpoint."""
        folder, mark = RunFolder(Path(search) / TRIALS / sample["trial"]), tmp_path / "died"
        with passed_on() as reports:
            tuner._report_again(reports, folder)
        saved = newest_place(folder.checkpoints)
        if sample["trial"] == "trial-00002" and saved < (0, 2):
            checkpoint = folder.checkpoints / f"task-00-step-{max(saved[1], 0) + 1:06d}"
            checkpoint.mkdir(parents=True)
            (checkpoint / RECORD).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if sample["trial"] == "trial-00001" or not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        folder.write_matrix([[0.5]], [False])
        write_json(folder.result, {"exit_code": 0, "reason": "done"})
        tune.report({judge.OBJECTIVE: 0.5, judge.RUNG: 1})

    monkeypatch.setattr(tuner, "_drive", drive)
    config, stop = job(drawn, tmp_path / "run", "launch.max_retries=1"), SharedStop(tmp_path)
    search = search_of(num_samples=3, scheduler={"kind": "fifo"})
    with ray_cluster(LaunchOptions()), closing(Course(tmp_path, search, 1, devices_per_trial=1)) as course:
        tuner.build_tuner(config, config, RunFolder(tmp_path), course, lambda running: running < 1, stop).fit()
    first, second, third = course.state.trials.values()
    assert (first.status, first.reports) == (third.status, third.reports) == ("done", [0.5])
    assert (second.status, second.exit_code) == ("failed", 1)
    assert second.reason.startswith(
        "retries exhausted: launch.max_retries=1 in a row saved nothing new; the driver died: The actor died"
    )
