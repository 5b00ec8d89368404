"""Watching local ranks: none that fails is missed."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from hlgp_dist.errors import DataError, Failure, LostWorker, OutOfMemory, Unreachable
from hlgp_dist.files import write_json
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.local import _watch
from hlgp_dist.launch.worker import failure_of
from hlgp_dist.train.host_memory import oom_kills
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
            _watch(ranks, channel, killed=0)  # type: ignore[arg-type]


def end_by(number: int) -> None:
    faulthandler.disable()  # pytest's would print the whole stack
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "left_behind", "kind", "reason"),
    [
        (signal.SIGKILL, None, LostWorker, "rank 1 was killed by SIGKILL; the same command resumes"),
        (signal.SIGKILL, Unreachable("s3://a/b: no answer"), Unreachable, "s3://a/b: no answer"),
        (signal.SIGSEGV, None, Failure, "rank 1 crashed with SIGSEGV"),
        (signal.SIGABRT, OutOfMemory("too big"), OutOfMemory, "too big"),
        (signal.SIGKILL, Failure("internal error: connection reset"), LostWorker, "rank 1 was killed by SIGKILL"),
        (signal.SIGKILL, LostWorker("another rank does not answer"), LostWorker, "rank 1 was killed by SIGKILL"),
        (signal.SIGSEGV, LostWorker("another rank does not answer"), Failure, "rank 1 crashed with SIGSEGV"),
    ],
)
def test_a_killed_rank_can_be_resumed_and_a_crash_is_a_failure(
    number: signal.Signals, left_behind: Failure | None, kind: type[Failure], reason: str, tmp_path: Path
) -> None:
    """What another rank left behind says more, unless it only noticed that this one had gone."""
    channel = Channel(tmp_path / "logs", 1)
    if left_behind is not None:
        leave(channel, 0, left_behind)
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=os._exit, args=(0,)), fork.Process(target=end_by, args=(number,))]
    for rank in ranks:
        rank.start()
    with pytest.raises(Failure, match=reason) as caught:
        _watch(ranks, channel, killed=0)  # type: ignore[arg-type]
    assert type(caught.value) is kind


def test_a_rank_that_the_kernel_ends_for_want_of_memory_is_out_of_memory(tmp_path: Path) -> None:
    """As `killed` is one less than now, some process has been."""
    killed = multiprocessing.get_context("fork").Process(target=end_by, args=(signal.SIGKILL,))
    killed.start()
    with pytest.raises(OutOfMemory, match=r"the kernel ended rank 0; lower engine\.micro_batch_size"):
        _watch([killed], Channel(tmp_path / "logs", 1), killed=oom_kills() - 1)  # type: ignore[list-item]


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
