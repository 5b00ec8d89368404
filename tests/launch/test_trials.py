"""What trials leave behind; which searches are refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError, DataError, LostWorker
from hlgp_dist.files import write_json
from hlgp_dist.launch import ray_run
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.search import run_search
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.launch.trials import forget_failures_of, objectives
from hlgp_dist.launch.tuner import Proposer
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.course import Course
from tests.jobs import job
from tests.tuning.simulated import NUM_TASKS, search_of


def test_what_a_stopped_driver_took_for_a_failure_is_forgotten(tmp_path: Path) -> None:
    results = {"a": {"exit_code": 0, "reason": "done"}, "b": {"exit_code": 1, "reason": "lost"}, "c": None}
    for name, result in results.items():
        RunFolder(tmp_path / name).write_matrix([[0.5], [0.5, 0.25]], [False, False])
        if result is not None:
            write_json(RunFolder(tmp_path / name).result, result)
    forget_failures_of(tmp_path, {"a", "b", "c", "never begun"})
    assert [RunFolder(tmp_path / name).read_result() for name in results] == [results["a"], None, None]
    assert objectives(RunFolder(tmp_path / "b")) == [0.5, 0.375]
    assert objectives(RunFolder(tmp_path / "never begun")) == []


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


def test_weights_that_a_trial_would_look_for_are_there(drawn: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.safetensors"
    space = f"search={{space: {{backbone.weights: {{grid: [none, {file}]}}}}, num_samples: 1}}"
    with pytest.raises(DataError, match=rf"search\.space: backbone\.weights={file} is no valid trial: .*no file"):
        run_search(job(drawn, tmp_path / "search", space), "job", lambda folder, rows: None)
    assert not (tmp_path / "search").exists()


def test_a_search_waits_for_nodes_and_for_what_runs(tmp_path: Path) -> None:
    room, stop = [0], SharedStop(tmp_path)
    with closing(Course(tmp_path, search_of(num_samples=2), NUM_TASKS, devices_per_trial=1)) as course:
        proposer = Proposer(course, lambda running: running < room[0], stop)
        assert proposer.suggest("a") is None, "a cluster that lost its nodes may get them back"
        room[0] = 1
        assert proposer.suggest("a")["trial"] == "trial-00000"
        assert proposer.suggest("b") is None, "there is room for one"
        course.ended("trial-00000", 0, "done", [0.5] * NUM_TASKS)
        assert proposer.suggest("b")["trial"] == "trial-00001"
        room[0] = 2
        assert proposer.suggest("c") is None, "what runs may make room for a replicate: Tune asks no more once told so"
        course.ended("trial-00001", 0, "done", [0.5] * NUM_TASKS)
        assert proposer.suggest("c") == Proposer.FINISHED


def test_a_search_that_is_stopped_starts_nothing_more(tmp_path: Path) -> None:
    stop = SharedStop(tmp_path)
    with closing(Course(tmp_path, search_of(num_samples=2), NUM_TASKS, devices_per_trial=1)) as course:
        stop.request()
        assert Proposer(course, lambda running: True, stop).suggest("a") == Proposer.FINISHED


def test_what_an_attempt_may_have_left_untold_is_told_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the judge of a search would miss the task that a host finished just before it died."""
    done: list[str] = []

    def attempt(config: RunConfig, channel: Channel, **_: object) -> None:
        done.append("attempt")
        if len(done) == 2:
            raise LostWorker("its host died")

    monkeypatch.setattr(ray_run, "_fit_once", attempt)
    monkeypatch.setattr(ray_run, "workers_at_start", lambda launch: launch.num_workers)
    monkeypatch.setattr(ray_run, "room", lambda config, stop: config.launch.num_workers)
    folder = RunFolder(tmp_path / "run")
    ray_run.fit(job(tmp_path, folder.path), folder, before_attempt=lambda: done.append("report"))
    assert done == ["report", "attempt", "report", "attempt"]
