"""`metrics.jsonl`: one line an event, the record that everything else is rebuilt from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SCHEMA_VERSION = 1

Axis = Literal["step", "task", "run"]


@dataclass(frozen=True)
class Event:
    """Scalars at one point: of axis `step` after that global step, `task` after that task, `run` at the end."""

    wall_time: float
    axis: Axis
    step: int
    tags: Mapping[str, float]

    def line(self) -> str:
        """JSON has no NaN and no infinity, so a value that is not finite is written as text, which `float` reads."""
        fields: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        fields["tags"] = {tag: value if math.isfinite(value) else str(value) for tag, value in self.tags.items()}
        return json.dumps(fields, allow_nan=False) + "\n"


def read_events(path: Path) -> Iterator[Event]:
    """The file's events in order; a line torn by a kill and lines of another schema version are left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        event = _parse(line)
        if event is not None:
            yield event


class Journal:
    """The open file. Starts with the given events and nothing else; survives a kill of the process."""

    def __init__(self, path: Path, events: Iterable[Event]) -> None:
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(event.line() for event in events)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, event: Event) -> None:
        self._file.write(event.line())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _parse(line: bytes) -> Event | None:
    try:
        fields = json.loads(line)
        if fields.pop("schema_version") != SCHEMA_VERSION:
            return None
        fields["tags"] = {tag: float(value) for tag, value in fields["tags"].items()}
        return Event(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
