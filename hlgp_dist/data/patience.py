"""How long a read is tried, and what between two attempts."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hlgp_dist.errors import DataError, Unreachable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
AGAIN_SECONDS = 5.0
_random = random.SystemRandom()
"""Not the generator that training seeds."""


class Transient(Exception):
    """An attempt that failed in a way that another may not."""


class Closed(DataError):
    """The place was closed while it was read."""


@dataclass(frozen=True)
class Patience:
    """Attempts of at most `deadline_seconds`, as long as `seconds` have not passed, but two anyway.

    Pauses double from the first to the longest, each times 0.5 to 1.5.
    """

    seconds: float = 5.0
    deadline_seconds: float = 30.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 15.0

    def pause(self, failed: int) -> float:
        """Seconds after the attempt `failed`, from one on; random, so that a thousand ranks do not return together."""
        doubled = self.first_pause_seconds * 2.0 ** min(failed - 1, 20)
        return min(doubled, self.longest_pause_seconds) * _random.uniform(0.5, 1.5)


LASTING = Patience(seconds=600.0, deadline_seconds=60.0)
"""Of what a run reads while it runs: to begin again costs more than to wait. Before it starts the user is told soon."""


class Attempts:
    """Runs what may fail until it succeeds, fails for good, or the place is closed; from any thread."""

    def __init__(self, patience: Patience, doing: str = "read") -> None:
        """doing: a participle, for messages."""
        self.patience, self._doing = patience, doing
        self.closed = threading.Event()

    def __call__(self, file: str, attempt: Callable[[], Result]) -> Result:
        """What `attempt` returns.

        Raises:
            Failure: what it raised.
            Unreachable: after the last `Transient` one; names `file` and the cause.
            Closed: the place is.
        """
        began, failed = time.monotonic(), 0
        while not self.closed.is_set():
            try:
                return attempt()
            except Transient as error:
                cause = error
            failed += 1
            logger.warning("%s: attempt %d failed: %s", file, failed, cause)
            if failed > 1 and time.monotonic() - began >= self.patience.seconds:
                raise Unreachable(f"{file}: cannot be {self._doing}: {cause} ({failed} attempts)") from cause
            self.closed.wait(self.patience.pause(failed))
        raise Closed(f"{file}: closed while it was {self._doing}")


def insist(call: Callable[[], object], seconds: float, nap: Callable[[float], None] = time.sleep) -> None:
    """Call again, for so long, while what it asks does not answer; nap: between two calls.

    Raises:
        Failure: what the last call raised, or `nap`.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            call()
            return
        except Unreachable as error:
            if time.monotonic() > until:
                raise
            logger.warning("%s; it is waited for", error)
            nap(AGAIN_SECONDS)
