"""A folder here that is kept in step with one of objects: what this process writes is sent, what others do is fetched.

One process, one copy: no other one writes to the folder here. A file that both sides have changed is this side's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.place import Facts
from hlgp_dist.files import write_atomically

Wanted = Callable[[str], bool]
"""Whether a name below the URL is to be fetched."""
Order = Callable[[str], int]
"""By name: what has a higher number is sent later."""


class Stamp(NamedTuple):
    """Tells one state of a local file from another."""

    modified: int
    size: int
    inode: int


class Known(NamedTuple):
    """A file that was the same on both sides."""

    version: str | None
    stamp: Stamp


class Mirror:
    """`parts`: the names and folders to look at, all by default. Any thread may publish and refresh."""

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        parts: Sequence[str] = ("",),
        wanted: Wanted = lambda name: True,
        order: Order = lambda name: 0,
    ) -> None:
        self._bucket, self._folder, self._parts, self._wanted, self._order = bucket, folder, parts, wanted, order
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def publish(self) -> None:
        """Send what was written since, by `order`, then in the order it was written; then remove what was removed.

        Raises:
            DataError: the store cannot be reached or refuses; what was not sent is sent the next time.
        """
        with self._lock:
            here = self._here()
            for name in sorted(here, key=lambda name: (self._order(name), here[name].modified)):
                known = self._known.get(name)
                if known is None or known.stamp != here[name]:
                    self._send(name, here[name])
            for name in sorted(self._known.keys() - here.keys()):
                self._bucket.remove(name)
                del self._known[name]

    def refresh(self) -> None:
        """Fetch what others wrote since, and remove what they removed.

        Raises:
            DataError: see `publish`.
        """
        with self._lock:
            here, there = self._here(), self._there()
            for name, facts in there.items():
                known = self._known.get(name)
                is_ours = name in here and (known is None or known.stamp != here[name])
                is_news = known is None or (known.version != facts.version and name in here)
                if is_news and not is_ours:
                    self._fetch(name, facts)
            for name in filter(self._is_looked_at, self._known.keys() - there.keys()):
                if name in here and self._known[name].stamp == here[name]:
                    (self._folder / name).unlink(missing_ok=True)
                    del self._known[name]

    def _send(self, name: str, stamp: Stamp) -> None:
        with suppress(FileNotFoundError):  # removed since
            facts = self._bucket.write(name, self._folder / name)
            self._known[name] = Known(facts.version if facts is not None else None, stamp)

    def _fetch(self, name: str, facts: Facts) -> None:
        file = self._folder / name
        write_atomically(file, self._bucket.read(name, 0, facts.size))
        if facts.modified is not None:
            os.utime(file, (facts.modified, facts.modified))
        self._known[name] = Known(facts.version, _stamp(file.stat()))

    def _there(self) -> Mapping[str, Facts]:
        found: dict[str, Facts] = {}
        for part in self._parts:
            found |= self._bucket.listed(part)
        return {name: facts for name, facts in found.items() if self._is_looked_at(name)}

    def _is_looked_at(self, name: str) -> bool:
        is_part = any(part in ("", name) or name.startswith(f"{part}/") for part in self._parts)
        return is_part and not is_private(name) and self._wanted(name)

    def _here(self) -> dict[str, Stamp]:
        return dict(_stamps(self._folder))


def is_private(name: str) -> bool:
    """Whether a file is its process's own: half written, a lock, or Ray's."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or name.endswith(".partial") or "logs/ray/" in f"{name}/"


def _stamps(folder: Path) -> Iterator[tuple[str, Stamp]]:
    for at, folders, files in os.walk(folder):
        inside = Path(at).relative_to(folder)
        folders[:] = [each for each in folders if not is_private(str(inside / each))]
        for each in files:
            name = str(inside / each)
            if not is_private(name):
                with suppress(FileNotFoundError):
                    yield name, _stamp((folder / name).stat())


def _stamp(about: os.stat_result) -> Stamp:
    return Stamp(about.st_mtime_ns, about.st_size, about.st_ino)
