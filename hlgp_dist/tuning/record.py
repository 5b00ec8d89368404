"""SEARCH/trials.jsonl: one line an event of a search, durable before the event has any effect."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hlgp_dist.errors import ConfigError
from hlgp_dist.files import filling, sync

SCHEMA_VERSION = 1
Event = dict[str, Any]


class Record:
    """The open file; what a kill left half written at its end is cut off. One process at a time writes.

    `publish` makes what was written as durable as the search's folder is, where a disk is not enough.
    """

    def __init__(self, path: Path, publish: Callable[[], None]) -> None:
        self.events, self._publish = read_record(path), publish
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._folder = path.open("ab"), path.parent
        whole = path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(whole)
        sync(path.parent)

    def append(self, event: Event) -> None:
        """Durable when it returns."""
        line = json.dumps({"schema_version": SCHEMA_VERSION, **event}, allow_nan=False)
        with filling(self._folder):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._publish()
        self.events.append(event)

    def close(self) -> None:
        self._file.close()


def read_record(path: Path) -> list[Event]:
    """The whole events in order; none where there is no file.

    Raises:
        ConfigError: a line that is not the last is damaged, or of another version.
    """
    if not path.is_file():
        return []
    return [_event(path, number, line) for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1)]


def _event(path: Path, number: int, line: bytes) -> Event:
    try:
        event: Event = json.loads(line)
        if event.pop("schema_version") == SCHEMA_VERSION:
            return event
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    raise ConfigError(f"{path}:{number}: is no event of a search; take another run.name, or delete the search's folder")
