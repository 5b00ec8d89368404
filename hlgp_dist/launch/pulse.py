"""A rank's side of the channel: a thread that tells whether the rank moves, and does what the launcher asks."""

from __future__ import annotations

import faulthandler
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TextIO

from hlgp_dist.launch.channel import Beat, Channel

LONGEST_SECONDS = 1.0
"""Between two looks: how soon a rank hears of a stop."""
LOOKS = 10
"""Within `launch.hang_seconds`, at least."""
TOLD_A_SECOND = 50
"""Beats of all ranks of a run, each a file that is written anew: a shared disk has others to serve."""
PATIENCE = 1.5
"""Times `launch.hang_seconds`: a thread that never lets go of the interpreter also keeps this one from answering."""
ABANDONED = 70
"""Exit code of a rank that was told to leave."""


class Pulse:
    """Of one rank, from entering to leaving; see `types.Pulse`."""

    def __init__(self, channel: Channel, rank: int, hang_seconds: float | None, size: int = 1) -> None:
        self._channel, self._rank, self._hang_seconds = channel, rank, hang_seconds
        self._steps, self._signs, self._doing = 0, 0, "starting"
        self._gauge: Callable[[], object] | None = None
        self._gauged: object = None
        longest = (hang_seconds or 1e9) / LOOKS
        self._interval, self._pause = min(LONGEST_SECONDS, longest), min(size / TOLD_A_SECOND, longest)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="pulse", daemon=True)
        self._stacks: TextIO | None = None
        self.stop_requested = False

    def beat(self, doing: str | None = None) -> None:
        self._steps += 1
        if doing is not None:
            self._doing = doing

    @contextmanager
    def watching(self, gauge: Callable[[], object]) -> Iterator[None]:
        self._gauge = gauge
        try:
            yield
        finally:
            self._gauge = None

    def __enter__(self) -> Pulse:
        self._channel.folder.mkdir(parents=True, exist_ok=True)
        self._stacks = self._channel.stacks_of(self._rank).open("a")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._close_stacks()

    def _attend(self) -> None:
        told, told_at, answered, host = Beat(), -math.inf, "", platform.node()
        while not self._over.is_set():
            self._look()
            now = Beat(self._steps, self._signs, self._doing, host)
            if now != told and time.monotonic() - told_at >= self._pause:
                told, told_at = now, time.monotonic()
                self._channel.tell(self._rank, now)
            asked = self._channel.asked()
            if asked != answered:
                answered = asked
                self._answer(asked)
            self._arm()
            self._over.wait(self._interval)

    def _look(self) -> None:
        gauge = self._gauge
        if gauge is None:
            return
        with suppress(OSError):
            value = gauge()
            if value != self._gauged:
                self._gauged = value
                self._signs += 1

    def _answer(self, asked: str) -> None:
        if asked == "stop":
            self.stop_requested = True
        elif asked == "stacks" and self._stacks is not None:
            faulthandler.dump_traceback(self._stacks, all_threads=True)
            self._stacks.flush()
        elif asked == "leave":
            os._exit(ABANDONED)

    def _arm(self) -> None:
        """Unless this thread comes back in time, one outside of the interpreter writes the stacks and ends the rank."""
        if self._hang_seconds is not None and self._stacks is not None:
            faulthandler.dump_traceback_later(PATIENCE * self._hang_seconds, exit=True, file=self._stacks)

    def _close_stacks(self) -> None:
        """Without a trace where nobody asked."""
        if self._stacks is not None:
            self._stacks.close()
            path = self._channel.stacks_of(self._rank)
            if path.is_file() and path.stat().st_size == 0:
                path.unlink()
