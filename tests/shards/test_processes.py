from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.shards.processes import Advance, Jobs, crew
from hlgp_dist.train.environment import environment


def halved(number: int, advance: Advance) -> tuple[int, int]:
    """And the process that did it; 4 is refused, 6 kills."""
    if number == 4:
        raise DataError("no fours")
    if number == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(number)
    return number // 2, os.getpid()


def asleep(seconds: float, advance: Advance) -> None:
    time.sleep(seconds)


def test_tasks_are_drawn_as_they_are_needed() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(12):
            drawn.append(number)
            yield 10

    calls: list[tuple[int, int]] = []
    jobs = Jobs(halved, workers=2, total=120, progress=lambda done, total: calls.append((done, total)))
    found = []
    for result in jobs.results(tasks()):
        found.append(result)
        assert len(drawn) <= len(found) + 3
    assert [value for value, _ in found] == [5] * 12
    assert os.getpid() not in {process for _, process in found}
    assert calls[-1] == (120, 120) and calls == sorted(calls)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(workers: int) -> None:
    with pytest.raises(DataError, match="no fours"):
        list(Jobs(halved, workers=workers, total=0).results([2, 4, 2, 2]))


def test_a_process_that_dies_is_an_error_of_the_machine() -> None:
    with pytest.raises(EnvironmentFailure, match="a worker process died"):
        list(Jobs(halved, workers=2, total=0).results([2, 6, 2, 2]))


def test_one_worker_is_this_process() -> None:
    calls: list[int] = []
    jobs = Jobs(halved, workers=1, total=0, progress=lambda done, _: calls.append(done))
    assert {process for _, process in jobs.results([2, 2, 8])} == {os.getpid()}
    assert calls[-1] == 12


def test_leaving_early_does_not_wait() -> None:
    started = time.monotonic()
    for _ in Jobs(asleep, workers=2, total=0).results([0.01, 60]):
        break
    assert time.monotonic() - started < 20


def test_cores_that_are_not_ours_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7})
    assert usable_cores() == crew(None, pictures=10**6) == environment()["usable_cores"] == 3


def test_few_pictures_need_one_process() -> None:
    assert crew(None, pictures=100) == crew(None, pictures=0) == 1
    assert crew(None, pictures=10**6) == usable_cores()
    assert crew(3, pictures=1) == 3
