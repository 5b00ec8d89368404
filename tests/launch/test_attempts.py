"""Whether and how a run is tried again, decided from what failed so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import (
    ConfigError,
    DataError,
    EnvironmentFailure,
    Failure,
    HungWorker,
    Interrupted,
    LostWorker,
    NonFiniteLoss,
    OutOfMemory,
    Preempted,
    Unreachable,
)
from hlgp_dist.launch.attempts import Ended, Retry, final_failure, micro_batch_size, retry_after, smaller_batches
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.retrying import run_attempts
from hlgp_dist.launch.room import placeable
from hlgp_dist.launch.stop import Stop
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.state import FOR_GOOD
from tests.jobs import job

LOST, FULL = LostWorker("rank 1 was lost"), OutOfMemory("out of memory: 3 GB")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return job(tmp_path / "shards", tmp_path / "run", "launch.num_workers=2")


@pytest.mark.parametrize(
    "failure",
    [ConfigError("no"), DataError("no"), EnvironmentFailure("no"), NonFiniteLoss("nan"), Failure("bug"), Interrupted()],
)
def test_what_would_fail_again_is_not_tried_again(failure: Failure, config: RunConfig) -> None:
    assert retry_after(config, [Ended(failure)]) is None
    assert final_failure(config, [Ended(failure)]) is failure


@pytest.mark.parametrize("failure", [LOST, HungWorker("silent"), Preempted("drained")])
def test_a_lost_worker_is_tried_again_and_waited_for(failure: Failure, config: RunConfig) -> None:
    seconds = []
    for count in (1, 2, 3):
        retry = retry_after(config, [Ended(failure)] * count)
        assert retry is not None and retry.changes == {}
        seconds.append(retry.seconds)
    assert seconds == [2.0, 4.0, 8.0]
    assert retry_after(config, [Ended(failure)] * 4) is None
    last = final_failure(config, [Ended(failure)] * 4)
    assert last.exit_code == 1 and str(last).startswith("retries exhausted: ") and str(failure) in str(last)


def test_what_is_unreachable_is_tried_again_and_is_of_the_environment(config: RunConfig) -> None:
    """Its exit code is none of those that a search takes for good."""
    ended = [Ended(Unreachable("s3://pictures: no answer"))]
    assert retry_after(config, ended) == Retry({}, 2.0)
    last = final_failure(config, ended * 4)
    assert last.exit_code == EnvironmentFailure.exit_code not in FOR_GOOD
    assert str(last).startswith("retries exhausted: ") and str(last).endswith("no answer")


def test_only_retries_that_save_nothing_count(config: RunConfig) -> None:
    ended = [Ended(LOST)] * 3 + [Ended(LOST, has_saved=True)]
    assert retry_after(config, ended) == Retry({}, 2.0)
    assert retry_after(config, [*ended, *[Ended(LOST)] * 2]) == Retry({}, 8.0)
    assert retry_after(config, [*ended, *[Ended(LOST)] * 3]) is None


def test_without_retries_a_lost_worker_is_an_interruption(tmp_path: Path) -> None:
    config = job(tmp_path, tmp_path / "run", "launch.max_retries=0")
    assert retry_after(config, [Ended(LOST, has_saved=True)]) is None
    assert final_failure(config, [Ended(LOST)]) is LOST and LOST.exit_code == 75


def test_memory_is_halved_once(config: RunConfig) -> None:
    retry = retry_after(config, [Ended(LOST), Ended(FULL)])
    assert retry == Retry({"engine.micro_batch_size": 4, "evaluation.batch_size": 64}, 0.0)
    assert retry_after(config, [Ended(FULL), Ended(LOST), Ended(FULL)]) is None
    assert final_failure(config, [Ended(FULL), Ended(FULL)]) is FULL


@pytest.mark.parametrize(
    ("overrides", "micro", "halved"),
    [
        (["train.global_batch_size=17"], 9, 4),
        (["engine.micro_batch_size=3"], 3, 1),
        (["engine.micro_batch_size=100"], 8, 4),
        (["train.global_batch_size=2"], 1, None),
    ],
)
def test_the_largest_share_is_halved(overrides: list[str], micro: int, halved: int | None, tmp_path: Path) -> None:
    config = job(tmp_path, tmp_path / "run", "launch.num_workers=2", *overrides)
    assert micro_batch_size(config) == micro
    assert smaller_batches(config).get("engine.micro_batch_size") == halved


def test_a_method_without_gradients_has_no_micro_batch(tmp_path: Path) -> None:
    config = resolve({"data": {"path": str(tmp_path)}, "method": {"kind": "ncm"}}).config
    assert smaller_batches(config) == {"evaluation.batch_size": 64}


def test_workers_that_fit_are_whole(tmp_path: Path) -> None:
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0}]
    assert placeable(nodes, {"CPU": 2.0}) == 9
    assert placeable(nodes, {"CPU": 2.0, "GPU": 1.0}) == 3
    assert placeable([], {"CPU": 1.0}) == 0


class Script:
    """Attempts that end as written, and what each was given."""

    def __init__(self, *failures: Failure | None) -> None:
        self.failures, self.given = list(failures), []  # type: ignore[var-annotated]

    def __call__(self, config: RunConfig, channel: Channel) -> None:
        self.given.append((config.launch.num_workers, config.engine.micro_batch_size, channel.number))
        channel.open()
        failure = self.failures.pop(0)
        if failure is not None:
            raise failure


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hlgp_dist.launch.attempts.FIRST_SECONDS", 0.0)


@pytest.mark.usefixtures("no_waiting")
def test_attempts_follow_each_other_with_fewer_workers(config: RunConfig, tmp_path: Path) -> None:
    folder, script = RunFolder(tmp_path / "run"), Script(FULL, LOST, LOST, None)
    rooms = iter([2, 1, 2])
    run_attempts(config, folder, script, stop=Stop(), room=lambda _: next(rooms))
    assert script.given == [(2, None, 1), (2, 4, 2), (1, 4, 3), (2, 4, 4)]
    records = folder.read_attempts()
    assert [record["failure"] for record in records] == ["OutOfMemory", "LostWorker", "LostWorker", None]
    assert [record["workers"] for record in records] == [2, 2, 1, 2]
    assert records[0]["reason"] == str(FULL) and records[0]["exit_code"] == 5
    assert "launch.num_workers: 2 -> 1" in (folder.logs / "changes.log").read_text()


@pytest.mark.usefixtures("no_waiting")
def test_ranks_that_nobody_told_to_go_were_preempted(config: RunConfig, tmp_path: Path) -> None:
    folder, script = RunFolder(tmp_path / "run"), Script(Interrupted("stopped by a signal in task 1"), None)
    run_attempts(config, folder, script, stop=Stop())
    assert [record["failure"] for record in folder.read_attempts()] == ["Preempted", None]


def test_what_the_user_stops_stays_stopped(config: RunConfig, tmp_path: Path) -> None:
    for failure in (Interrupted("stopped by a signal"), LOST):
        stop = Stop()

        def stopped(config: RunConfig, channel: Channel, failure: Failure = failure, stop: Stop = stop) -> None:
            stop.request()
            raise failure

        with pytest.raises(type(failure)) as caught:
            run_attempts(config, RunFolder(tmp_path / "run"), stopped, stop=stop)
        assert caught.value is failure and failure.exit_code == 75


def test_what_is_stopped_beforehand_is_not_begun(config: RunConfig, tmp_path: Path) -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted, match="before the run began"):
        run_attempts(config, RunFolder(tmp_path / "run"), Script(), stop=stop)


def test_a_second_signal_is_recorded_too(config: RunConfig, tmp_path: Path) -> None:
    def die(config: RunConfig, channel: Channel) -> None:
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        run_attempts(config, RunFolder(tmp_path / "run"), die, stop=Stop())
    assert RunFolder(tmp_path / "run").read_attempts()[0]["exit_code"] == 143
