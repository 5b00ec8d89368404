"""Watching local ranks: none that fails is missed."""

from __future__ import annotations

import faulthandler
import itertools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from hlgp_dist.errors import DataError, Failure, LostWorker, OutOfMemory, Unreachable
from hlgp_dist.files import write_json
from hlgp_dist.launch import local
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.local import _watch
from hlgp_dist.launch.worker import failure_of
from hlgp_dist.train import host_memory
from hlgp_dist.train.result import failed


def test_a_rank_that_fails_is_never_missed(tmp_path: Path) -> None:
    """Ranks end at any moment, between two looks at the same list too."""
    channel = Channel(tmp_path / "logs", 1)
    fork = multiprocessing.get_context("fork")
    for _ in range(25):
        ranks = [fork.Process(target=os._exit, args=(3,)) for _ in range(2)]
        for rank in ranks:
            rank.start()
        with pytest.raises(Failure, match="ended with exit code 3"):
            _watch(ranks, channel)  # type: ignore[arg-type]


def end_by(number: int, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    faulthandler.disable()  # pytest's would print the whole stack
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "gpus", "left_behind", "kind", "reason"),
    [
        (signal.SIGKILL, False, None, LostWorker, "rank 1 was killed by SIGKILL; the same command resumes"),
        (signal.SIGKILL, False, Unreachable("s3://a/b: no answer"), Unreachable, "s3://a/b: no answer"),
        (signal.SIGSEGV, False, None, Failure, "rank 1 crashed with SIGSEGV"),
        (signal.SIGABRT, False, None, Failure, "rank 1 crashed with SIGABRT"),
        (signal.SIGABRT, False, OutOfMemory("too big"), OutOfMemory, "too big"),
        (signal.SIGKILL, False, Failure("internal error: reset"), LostWorker, "rank 1 was killed by SIGKILL"),
        (signal.SIGKILL, False, LostWorker("another rank"), LostWorker, "rank 1 was killed by SIGKILL"),
        (signal.SIGSEGV, True, LostWorker("another rank"), Failure, "rank 1 crashed with SIGSEGV"),
        (signal.SIGABRT, True, None, LostWorker, "rank 1 was ended by SIGABRT, as by NCCL's watchdog"),
        (signal.SIGABRT, True, LostWorker("another rank"), LostWorker, "another rank"),
        (signal.SIGABRT, True, Failure("internal error: misaligned address"), Failure, "misaligned address"),
        (signal.SIGABRT, True, OutOfMemory("too big"), OutOfMemory, "too big"),
    ],
)
def test_a_killed_rank_can_be_resumed_and_a_crash_is_a_failure(
    number: signal.Signals,
    gpus: bool,
    left_behind: Failure | None,
    kind: type[Failure],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another rank left behind says more, unless it only noticed that this one had gone. Among GPUs NCCL's
    watchdog aborts a rank where gloo raises.
    """
    monkeypatch.setattr(local.torch.cuda, "is_available", lambda: gpus)
    channel = Channel(tmp_path / "logs", 1)
    if left_behind is not None:
        leave(channel, 0, left_behind)
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=os._exit, args=(0,)), fork.Process(target=end_by, args=(number,))]
    for rank in ranks:
        rank.start()
    with pytest.raises(Failure, match=reason) as caught:
        _watch(ranks, channel)  # type: ignore[arg-type]
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("kills", "seconds", "kind"), [([3, 4], 0.0, OutOfMemory), ([4, 4], 0.0, LostWorker), ([3, 4], 1.5, LostWorker)]
)
def test_a_rank_that_the_kernel_ends_for_want_of_memory_is_out_of_memory(
    kills: list[int], seconds: float, kind: type[Failure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kills: as they are counted at the start, and from the next time on; seconds: that the rank lives."""
    counts = itertools.chain(kills, itertools.repeat(kills[-1]))
    monkeypatch.setattr(local.host_memory, "oom_kills", lambda: next(counts))
    monkeypatch.setattr(local, "LOOK_SECONDS", 1.0 if seconds else 60.0)
    rank = multiprocessing.get_context("fork").Process(target=end_by, args=(signal.SIGKILL, seconds))
    rank.start()
    with pytest.raises(kind):
        _watch([rank], Channel(tmp_path / "logs", 1))  # type: ignore[list-item]


def test_processes_that_nobody_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cgroups, and with lines of another form."""
    monkeypatch.setattr(host_memory, "PROC", tmp_path)
    assert host_memory.oom_kills() == 0
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 5\n")
    assert host_memory.oom_kills() == 5
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("of another form\n")
    assert host_memory.oom_kills() == 5
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path / "groups")
    (tmp_path / "self" / "cgroup").write_text("0::/job/step\n")
    (tmp_path / "groups" / "job" / "step").mkdir(parents=True)
    (tmp_path / "groups" / "job" / "memory.events").write_text("oom 2\noom_kill 1\n")
    assert host_memory.oom_kills() == 1


def test_a_reason_is_an_attempt_s_own(tmp_path: Path) -> None:
    """What a rank that outlives its attempt writes late is none of the next one's; there, what would come again goes
    first."""
    late, present = Channel(tmp_path, 1), Channel(tmp_path, 2)
    leave(late, 0, DataError("of the attempt before"))
    assert failure_of(present) is None
    failures = [LostWorker("a peer"), Failure("bug"), Unreachable("away"), DataError("wrong")]
    for rank, failure in enumerate(failures):
        leave(present, rank, failure)
        left = failure_of(present)
        assert (type(left), str(left)) == (type(failure), str(failure))


def leave(channel: Channel, rank: int, failure: Failure) -> None:
    write_json(channel.reason_of(rank), {"kind": type(failure).__name__, **failed(failure)})
