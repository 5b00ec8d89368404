"""Work on many pictures in processes: a task a process at a time, and no process that outlives the caller."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Generic, NamedTuple, TypeVar

from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import EnvironmentFailure

Progress = Callable[[int, int], None]
Task = TypeVar("Task")
Result = TypeVar("Result")

_PICTURES_A_PROCESS = 2_000
"""Fewer are done sooner than a process has started."""
_TELL_SECONDS = 0.2


def crew(workers: int | None, *, pictures: int) -> int:
    """How many processes: as asked for, else one a core as far as the pictures occupy them."""
    return workers or max(1, min(usable_cores(), math.ceil(pictures / _PICTURES_A_PROCESS)))


class Advance:
    """Counts finished pictures where the work is done, and tells it on now and then; called for each one."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._count = 0
        self._told = 0.0

    def __call__(self, pictures: int = 1) -> None:
        self._count += pictures
        if time.monotonic() - self._told > _TELL_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._tell(self._count)
        self._count, self._told = 0, time.monotonic()


Function = Callable[[Task, Advance], Result]


class Jobs(Generic[Task, Result]):
    """`function(task, advance)` of every task, in the order in which they are finished. One worker is this process.

    The tasks are drawn one by one, when a process is free. `progress` is called with (pictures through, total).
    """

    def __init__(
        self, function: Function[Task, Result], *, workers: int, total: int, progress: Progress | None = None
    ) -> None:
        self._function = function
        self._workers = workers
        self._total = total
        self._progress = progress
        self._done = 0

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Raises what a task raises; EnvironmentFailure where a process died."""
        return self._here(tasks) if self._workers == 1 else self._elsewhere(tasks)

    def _tell(self, pictures: int) -> None:
        self._done += pictures
        if self._progress is not None and pictures:
            self._progress(self._done, self._total)

    def _here(self, tasks: Iterable[Task]) -> Iterator[Result]:
        advance = Advance(self._tell)
        for task in tasks:
            result = self._function(task, advance)
            advance.flush()
            yield result

    def _elsewhere(self, tasks: Iterable[Task]) -> Iterator[Result]:
        busy: dict[Any, BaseProcess] = {}
        try:
            waiting = iter(tasks)
            for task in waiting:
                if len(busy) == self._workers:
                    yield self._next(busy, task)
                else:
                    end, process = _started(self._function)
                    busy[end] = process
                    with _alive():
                        end.send(task)
            while busy:
                yield self._next(busy, None)
        finally:
            for process in busy.values():
                process.kill()
                process.join()

    def _next(self, busy: dict[Any, BaseProcess], task: Task | None) -> Result:
        """The next result; its process goes on with `task`, or ends where there is none."""
        while True:
            ends: list[Any] = wait(list(busy))
            for end in ends:
                with _alive():
                    answer = end.recv()
                if isinstance(answer, int):
                    self._tell(answer)
                    continue
                if task is not None:
                    with _alive():
                        end.send(task)
                else:
                    end.close()
                    busy.pop(end).join()
                if answer.error is not None:
                    raise answer.error
                result: Result = answer.result
                return result


class _Answer(NamedTuple):
    result: Any
    error: Exception | None


@contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise EnvironmentFailure("a worker process died; for want of memory? fewer workers need less") from error


def _started(function: Function[Task, Result]) -> tuple[Connection, BaseProcess]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, function), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _serve(end: Connection, function: Function[Task, Result]) -> None:
    """In a new process: the caller answers the keyboard, and we end when it does, be it by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    advance = Advance(end.send)
    with suppress(EOFError, ConnectionError):  # the caller is gone
        while True:
            answer = _answer(function, end.recv(), advance)
            advance.flush()
            end.send(answer)


def _answer(function: Function[Task, Result], task: Task, advance: Advance) -> _Answer:
    try:
        return _Answer(function(task, advance), None)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # it cannot travel as it is
            return _Answer(None, RuntimeError(repr(error)))
        return _Answer(None, error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
