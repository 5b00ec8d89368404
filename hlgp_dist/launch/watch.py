"""The launcher's side of the channel: passes a stop on, and ends an attempt in which no rank moves any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from hlgp_dist.errors import HungWorker
from hlgp_dist.launch.channel import Beat, Channel
from hlgp_dist.launch.stop import Stop

LONGEST_SECONDS = 1.0
LOOKS = 20
"""Within `launch.hang_seconds`, at least."""
ANSWER_SECONDS = 3.0
"""For the ranks to write their stacks, and then for them to leave."""
NAMED = 8
"""Silent ranks, at most: a thousand would be a page."""
WAITING = ("all_reduce", "barrier", "broadcast", "gather", "reduce_scatter", "allreduce")
"""One of these is in the stack of a rank that waits for the others."""


class Watch:
    """Of one attempt, from entering to leaving. `hang` is what it ended the attempt for, `end` what it called then.

    is_heard: whether what ranks tell comes through; while it does not, no silence counts.
    """

    def __init__(
        self,
        channel: Channel,
        size: int,
        hang_seconds: float | None,
        stop: Stop,
        end: Callable[[], None] = lambda: None,
        is_heard: Callable[[], bool] = lambda: True,
    ) -> None:
        self.hang: HungWorker | None = None
        self._channel, self._hang_seconds, self._stop, self._end = channel, hang_seconds, stop, end
        self._is_heard = is_heard
        self._beats: list[Beat | None] = [None] * size
        self._moved_at = [time.monotonic()] * size
        self._interval = min(LONGEST_SECONDS, (hang_seconds or 1e9) / LOOKS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._channel.open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._channel.ask("leave")  # whoever outlives the attempt, behind a broken network, say

    def _watch(self) -> None:
        passed_on = ""
        while not self._over.wait(self._interval):
            wanted = "leave" if self._stop.at_once else "stop" if self._stop.requested else ""
            if wanted and wanted != passed_on:
                passed_on = wanted
                self._channel.ask("leave" if self._stop.at_once else "stop")
            if self._hang_seconds is not None and self._is_silent(self._hang_seconds):
                self._end_hang()
                return

    def _is_silent(self, seconds: float) -> bool:
        """Whether no rank has moved for so long. One that waits for others does not, so a single one means nothing."""
        now, told = time.monotonic(), self._channel.told(len(self._beats))
        if not self._is_heard():
            self._moved_at = [now] * len(self._beats)
        for rank, (before, beat) in enumerate(zip(self._beats, told, strict=True)):
            if beat is not None and beat != before:
                self._beats[rank], self._moved_at[rank] = beat, now
        has_begun = any(beat is not None for beat in self._beats)
        return has_begun and now - max(self._moved_at) > seconds

    def _end_hang(self) -> None:
        before = [self._written(rank) for rank in range(len(self._beats))]
        now = time.monotonic()
        self._channel.ask("stacks")
        self._over.wait(ANSWER_SECONDS + 2 * self._channel.delay)
        stacks = [self._written(rank)[len(old) :] for rank, old in enumerate(before)]
        answered = {rank for rank, stack in enumerate(stacks) if stack}
        silent = silent_ranks(
            self._beats,
            answered=answered,
            waiting={rank for rank, stack in enumerate(stacks) if any(word in stack for word in WAITING)},
        )
        ages = {rank: now - self._moved_at[rank] for rank in silent}
        self.hang = HungWorker(hang_reason(self._beats, ages, answered))
        self._channel.ask("leave")
        self._over.wait(ANSWER_SECONDS + self._channel.delay)
        self._end()

    def _written(self, rank: int) -> str:
        try:
            return self._channel.stacks_of(rank).read_text(errors="replace")
        except OSError:
            return ""


def silent_ranks(beats: Sequence[Beat | None], *, answered: Collection[int], waiting: Collection[int]) -> list[int]:
    """Those that the others wait for: the furthest behind; of them who wrote no stack, else who waits for nobody."""
    steps = [-1 if beat is None else beat.steps for beat in beats]
    behind = [rank for rank, count in enumerate(steps) if count == min(steps)]
    mute = [rank for rank in behind if rank not in answered]
    busy = [rank for rank in behind if rank not in waiting]
    return mute or busy or behind


def hang_reason(beats: Sequence[Beat | None], ages: dict[int, float], answered: Collection[int]) -> str:
    """`rank 1 on HOST silent for 903 s in task 2 step 17; stacks in logs/`; ages: seconds, of the silent ones.

    One that wrote no stack may have gone on for a moment since it was last heard.
    """
    words = []
    for rank, age in list(ages.items())[:NAMED]:
        beat = beats[rank] or Beat(host="a host not known")
        where = "in" if rank in answered else "and stopped, last heard in"
        words.append(f"rank {rank} on {beat.host} silent for {age:.0f} s {where} {beat.doing}")
    if len(ages) > NAMED:
        words.append(f"{len(ages) - NAMED} more")
    return f"{'; '.join(words)}; stacks in logs/"
