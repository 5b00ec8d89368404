"""What the launcher and the ranks of an attempt tell each other by files: where each rank is, and what it shall do.

They lie in RUN/logs/attempts/NUMBER/, which every node sees. A rank that outlives its attempt reads there to leave.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

Request = Literal["run", "stop", "stacks", "leave"]
"""stop: checkpoint and leave; stacks: write down where each thread is; leave: end at once."""
REQUEST = "request"
STACKS = ".stacks.txt"


class Beat(NamedTuple):
    """Of one rank: steps of what all ranks do alike, other signs of life, what it is at, and where."""

    steps: int = 0
    signs: int = 0
    doing: str = "starting"
    host: str = ""


class Channel:
    """Of one attempt. `delay`: seconds until one side reads what the other wrote."""

    def __init__(self, folder: Path, number: int, delay: float = 0.0) -> None:
        self.number, self.delay = number, delay
        self.folder = folder / "attempts" / f"{number:03d}"
        self.logs = folder

    def open(self) -> None:
        """By the launcher, before the ranks start: a file that is there is seen to change, one that is not may not.

        A launcher that was killed has told nobody to leave, so its ranks are told now.
        """
        for former in self.folder.parent.glob("[0-9]*"):
            Channel(self.logs, int(former.name)).ask("leave")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ask("run")

    def ask(self, request: Request) -> None:
        """All ranks."""
        aside = self.folder / f".{REQUEST}.aside"
        aside.write_text(request)
        aside.replace(self.folder / REQUEST)

    def asked(self) -> str:
        """The launcher's latest word; `run` where it cannot be read just now."""
        try:
            return (self.folder / REQUEST).read_text() or "run"
        except OSError:
            return "run"

    def tell(self, rank: int, beat: Beat) -> None:
        """By a rank. A beat that cannot be written is missing, which is what a launcher looks for."""
        path = self.folder / f"rank-{rank:03d}"
        aside = path.with_name(f".{path.name}.aside")
        with suppress(OSError):
            aside.write_text(json.dumps(beat))
            aside.replace(path)

    def told(self, size: int) -> list[Beat | None]:
        """The latest of each rank."""
        return list(self._read(size))

    def _read(self, size: int) -> Iterator[Beat | None]:
        for rank in range(size):
            try:
                yield Beat(*json.loads((self.folder / f"rank-{rank:03d}").read_text()))
            except (OSError, ValueError, TypeError):
                yield None

    def stacks_of(self, rank: int) -> Path:
        """Where a rank writes down what each of its threads is at."""
        return self.logs / f"rank-{rank:03d}{STACKS}"

    def reason_of(self, rank: int) -> Path:
        """Where a rank says what it failed by."""
        return self.folder / f"rank-{rank:03d}.failure.json"

    def left_reasons(self) -> list[Path]:
        """Of the attempt's ranks, in order."""
        return sorted(self.folder.glob("rank-*.failure.json"))


def request_of(number: int) -> str:
    """The name below RUN of what an attempt's ranks are asked by."""
    return f"logs/attempts/{number:03d}/{REQUEST}"


def next_number(folder: Path) -> int:
    """Of the attempt to come, counted through all commands that worked on the run."""
    numbers = [int(path.name) for path in (folder / "attempts").glob("[0-9]*")]
    return max(numbers, default=0) + 1
