"""How often a read is tried, and what between two attempts."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hlgp_dist.errors import Away, DataError, EnvironmentFailure

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_random = random.SystemRandom()
"""Not the generator that training seeds."""


class Transient(Exception):
    """An attempt that failed in a way that another may not."""


class Unreachable(DataError):
    """No attempt succeeded; a later one may."""


def not_kept(error: Exception) -> EnvironmentFailure:
    """Of the results' store: it does not answer, or it refuses."""
    return (Away if isinstance(error, Unreachable) else EnvironmentFailure)(f"run.dir: {error}")


class Closed(DataError):
    """The place was closed while it was read."""


@dataclass(frozen=True)
class Patience:
    """`attempts` in all, each of at most `deadline_seconds`; pauses double from the first, each times 0.5 to 1.5."""

    attempts: int = 5
    deadline_seconds: float = 60.0
    first_pause_seconds: float = 0.25

    def pause(self, failed: int) -> float:
        """Seconds after the attempt `failed`, from one on; random, so that a thousand ranks do not return together."""
        return self.first_pause_seconds * 2.0 ** (failed - 1) * _random.uniform(0.5, 1.5)


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
            DataError: after the last `Transient` one that names `file` and the cause.
            Closed: the place is.
        """
        for number in range(1, self.patience.attempts + 1):
            if self.closed.is_set():
                raise Closed(f"{file}: closed while it was {self._doing}")
            try:
                return attempt()
            except Transient as error:
                cause = error
            logger.warning("%s: attempt %d of %d failed: %s", file, number, self.patience.attempts, cause)
            if number < self.patience.attempts:
                self.closed.wait(self.patience.pause(number))
        raise Unreachable(f"{file}: cannot be {self._doing}: {cause} ({self.patience.attempts} attempts)") from cause
