"""What the table says of each trial, whatever it left behind; and that signals end what Ray would swallow."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from ray import tune

from hlgp_dist.config.schema import LaunchOptions
from hlgp_dist.errors import ConfigError, Interrupted
from hlgp_dist.files import write_json
from hlgp_dist.launch.cluster import Attended, attended, ray_cluster
from hlgp_dist.launch.search import run_search
from hlgp_dist.launch.trials import Ended, forget_stopped, trial_rows
from hlgp_dist.launch.tuner import EndIfUnwanted
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job


def trial(root: Path, number: int, *, tasks: int, result: dict[str, object] | None) -> None:
    folder = RunFolder(root / f"trial-{number:05d}")
    folder.write_matrix([[0.5] * (task + 1) for task in range(tasks)])
    if result is not None:
        write_json(folder.result, result)


def test_each_status_is_told_apart(tmp_path: Path) -> None:
    refused = {"exit_code": 2, "reason": "method.num_groups: no"}
    trial(tmp_path, 0, tasks=3, result={"exit_code": 0, "reason": "done"})
    trial(tmp_path, 1, tasks=1, result=None)
    trial(tmp_path, 2, tasks=0, result=refused)
    trial(tmp_path, 3, tasks=2, result=None)
    trial(tmp_path, 4, tasks=2, result={"exit_code": 1, "reason": "a worker of the run was lost"})
    errors = {2: "RuntimeError", 3: "The actor died", 5: "The driver died"}  # the last before it made its folder
    trials = {f"trial-{number:05d}": Ended({"seed": number}, errors.get(number)) for number in range(6)}
    forget_stopped(tmp_path, {name for name, ended in trials.items() if ended.error})
    rows = trial_rows(tmp_path, trials)
    assert [(row["status"], row["tasks_finished"], row["reason"]) for row in rows] == [
        ("done", 3, ""),
        ("stopped", 1, ""),
        ("failed", 0, "method.num_groups: no"),
        ("failed", 2, "The actor died"),
        ("stopped", 2, ""),
        ("failed", 0, "The driver died"),
    ]
    assert [row["objective"] for row in rows] == [0.5, 0.5, None, 0.5, 0.5, None]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match=f"stopped by {number.name}"):
        attended(lambda: time.sleep(5))
    assert signal.getsignal(number) is before


def test_a_search_that_nobody_waits_for_is_over_before_ray_is(tmp_path: Path) -> None:
    """Or its thread would ask a Ray that has gone, which ends the process before it leaves its outcome."""
    threads = set(threading.enumerate())
    tuner = tune.Tuner(
        lambda values: time.sleep(60),
        run_config=tune.RunConfig(storage_path=str(tmp_path), callbacks=[EndIfUnwanted()], verbose=0),
    )
    with ray_cluster(LaunchOptions()):
        threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted):
            attended(tuner.fit)
        assert not [thread for thread in set(threading.enumerate()) - threads if isinstance(thread, Attended)]


def test_what_it_attends_returns_and_raises() -> None:
    calls: list[int] = []
    assert attended(lambda: 7, meanwhile=lambda: calls.append(1)) == 7
    assert calls
    with pytest.raises(TimeoutError, match="its own"):
        attended(lambda: (_ for _ in ()).throw(TimeoutError("its own")))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["search.space={method.num_groups: {choice: [3, 99]}}"],
            r"search\.space: method\.num_groups=99 is no valid trial: .*99 groups do not fit 6 prompted blocks",
        ),
        (["search.scheduler.grace_tasks=3", "search.max_tasks=3"], r"grace_tasks = 3: must be less than the 3 tasks"),
        (["search.scheduler.grace_tasks=5"], r"search\.scheduler\.grace_tasks = 5: must be less than the 5 tasks"),
        (["run.resume=must"], "run.resume: must, but there is nothing to resume in"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    overrides: list[str], message: str, drawn: Path, tmp_path: Path
) -> None:
    search = "search={space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}}"
    config = job(drawn, tmp_path / "search", search, *overrides)
    with pytest.raises(ConfigError, match=message):
        run_search(config, "job", lambda folder, rows: None)
    assert not (tmp_path / "search").exists()
