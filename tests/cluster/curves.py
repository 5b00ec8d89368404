"""What TensorBoard can read of runs that are under way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOSS = "train/loss"


class Curves:
    """Of all runs below a folder. longest: by the run's name, seconds from a scalar to when a look found it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[tuple[str, int]] = set()
        self.longest: dict[str, float] = {}

    def look(self) -> None:
        for name, step, age in self._now():
            if (name, step) not in self._seen:
                self._seen.add((name, step))
                self.longest[name] = max(self.longest.get(name, 0.0), age)

    def _now(self) -> Iterator[tuple[str, int, float]]:
        for board in self._folder.glob("**/tensorboard"):
            events = EventAccumulator(str(board)).Reload()
            if LOSS in events.Tags()["scalars"]:
                yield from ((board.parent.name, one.step, time.time() - one.wall_time) for one in events.Scalars(LOSS))
