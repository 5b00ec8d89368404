"""How a command is asked to end: signals, heeded once for the whole command, set one `Stop` that all its phases look
at; Ray, which would take signals for itself, is called in a thread that is waited for."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from hlgp_dist.errors import Interrupted

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Ask a command to checkpoint and leave."""
SAME_SIGNAL_SECONDS = 1.0
"""`timeout` and some job systems signal a process and then its group: that is one wish, not two."""
STOP_FILE = "stop-requested"
"""In SEARCH/logs/."""
NAP_SECONDS = 0.1
MEANWHILE_SECONDS = 0.5
UNWANTED_SECONDS = 5.0
LEAVE_SECONDS = 120.0
"""For the ranks of a run on Ray to checkpoint and leave."""
T = TypeVar("T")


class Stop:
    """Whether this command was asked to end, by the user; at_once: for the second time. Set in signal handlers."""

    def __init__(self) -> None:
        self._requested = False
        self.at_once = False
        self._since = 0.0

    @property
    def requested(self) -> bool:
        return self._requested

    def request(self) -> None:
        """Ranks checkpoint and leave."""
        self._requested = True

    def heed(self, number: int, frame: FrameType | None = None) -> None:
        """The handler: a first signal asks the ranks to leave, a second ends everything at once.

        Raises:
            SystemExit: by the second.
        """
        if not self.requested:
            self._since = time.monotonic()
            self.request()
        elif time.monotonic() - self._since > SAME_SIGNAL_SECONDS:
            self.at_once = True
            raise SystemExit(128 + number)

    def check(self, where: str) -> None:
        """Raise Interrupted if it was requested; where: what is not begun, or not waited for any more."""
        if self.requested:
            raise Interrupted(f"stopped by a signal {where}; the same command resumes")

    def nap(self, seconds: float) -> None:
        """Sleep, and no longer than till it is requested."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, NAP_SECONDS))


class SharedStop(Stop):
    """One that processes on many nodes see, a search and the drivers of its trials: a file where all of them look.

    own: the search's, which counts for it at once and for the drivers when it is passed on.
    """

    def __init__(self, folder: Path, own: Stop | None = None) -> None:
        super().__init__()
        self._file, self._own = folder / STOP_FILE, own or Stop()

    @property
    def requested(self) -> bool:
        return self._own.requested or self._file.exists()

    def request(self) -> None:
        self._file.touch()

    def pass_on(self) -> None:
        """Now and then, by the search: a signal's handler writes no files."""
        if self._own.requested:
            self.request()

    def clear(self) -> None:
        """Before a search starts or goes on."""
        self._file.unlink(missing_ok=True)


@contextmanager
def signals_heeded() -> Iterator[Stop]:
    """Around a whole command, on its main thread. What `nohup` has it ignore it goes on to ignore."""
    stop = Stop()
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    former = {number: signal.signal(number, stop.heed) for number in STOP_SIGNALS if number not in ignored}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Attended(threading.Thread):
    """A call in a thread of its own, which may be asked to end."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.future: Future[Any] = Future()
        self.is_unwanted = False

    def run(self) -> None:
        try:
            self.future.set_result(self._call())
        except BaseException as error:
            self.future.set_exception(error)


def end_if_unwanted() -> None:
    """For what an attended call does again and again: ends the call once nobody waits for it."""
    thread = threading.current_thread()
    if isinstance(thread, Attended) and thread.is_unwanted:
        sys.exit()


def attended(call: Callable[[], T], stop: Stop, meanwhile: Callable[[], None] = lambda: None) -> T:
    """What `call()` returns, called in a thread while this one waits and now and then does `meanwhile`.

    On the main thread Ray Tune and Ray Train put in handlers of their own, after which a stopped job looks done.
    stop: the call looks at it and ends by itself; it is given `LEAVE_SECONDS`.

    Raises:
        Interrupted: it did not end by itself; leaving `ray_cluster` then ends what was called. A thread that
            turns to Ray after that ends the process with no word, so it is given time to end by itself.
        SystemExit: by a second signal.
    """
    thread = Attended(call)
    thread.start()
    try:
        result: T = _wait(thread, meanwhile, stop)
        return result
    except (Interrupted, SystemExit):
        thread.is_unwanted = True
        thread.join(UNWANTED_SECONDS)
        raise


def _wait(thread: Attended, meanwhile: Callable[[], None], stop: Stop) -> Any:
    until = math.inf
    while True:
        try:
            return thread.future.result(timeout=MEANWHILE_SECONDS)
        except TimeoutError:
            if thread.future.done():
                raise
        finally:
            meanwhile()
        if stop.requested:
            until = min(until, time.monotonic() + LEAVE_SECONDS)
        if time.monotonic() > until:
            stop.at_once = True
            raise Interrupted(f"no checkpoint within {LEAVE_SECONDS:.0f} s of a signal; run it again to resume")
