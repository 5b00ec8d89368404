"""A folder here that is kept in step with one of objects: what this process writes is sent, what others do is fetched.

One process, one copy: no other one writes to the folder here, and a file has one writer. What this process has ever
sent it does not fetch, so no file is replaced under the hands of who appends to it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.place import Facts
from hlgp_dist.errors import DataError
from hlgp_dist.files import filling, write_atomically

Wanted = Callable[[str], bool]
"""A question about a file, by its name below the URL."""
Order = Callable[[str], int]
"""By name: what has a higher number is sent later; 0 has what grows all the time."""
AT_ONCE = 16
"""Files that are fetched at the same time."""
READINGS = 3
"""Of an object that is replaced while it is read."""


class Stamp(NamedTuple):
    """Tells one state of a local file from another."""

    modified: int
    size: int
    inode: int


class Known(NamedTuple):
    """A file that was the same on both sides; version: of one that was fetched."""

    version: str | None
    stamp: Stamp


class Mirror:
    """`parts`: the names and folders to look at, all by default. Any thread may publish and refresh.

    mine: what is this mirror's to send and to fetch; the rest of the folder is another one's, or nobody's.
    wanted: what of that is fetched.
    grows: what others only ever add to; here it is added to as well, so that who has it open sees it grow.
    gone_with: what this process removes from the store when a file is gone here; where nothing, it is fetched again.
    permit: is called before anything is sent or removed, and raises where that is no longer this process's right.
    """

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        parts: Sequence[str] = ("",),
        wanted: Wanted = lambda name: True,
        mine: Wanted = lambda name: True,
        grows: Wanted = lambda name: False,
        order: Order = lambda name: 0,
        gone_with: Callable[[str], Iterable[str]] = lambda name: (name,),
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        self._bucket, self._folder, self._parts = bucket, folder, parts
        self._wanted, self._mine, self._grows, self._order = wanted, mine, grows, order
        self._gone_with, self._permit = gone_with, permit
        self.listing_seconds = 0.0
        """That the store took for the latest list of what there is."""
        folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Known] = {}
        self._sent: set[str] = set()
        self._lock = threading.Lock()

    def publish(self) -> None:
        """Send what was written since, by `order`, then in the order it was written; then remove what was removed.

        Raises:
            DataError, Unreachable: the store refuses, or does not answer; what was not sent is sent the next time.
            OSError: the folder here cannot be read.
        """
        with self._lock:
            here = self._here()
            late = {name: stamp for name, stamp in here.items() if self._order(name) > 0}
            here = self._here()  # what goes first is sent as it is after what goes later was looked at
            due = late | {name: stamp for name, stamp in here.items() if self._order(name) == 0}
            for name in sorted(due, key=lambda name: (self._order(name), due[name].modified)):
                known = self._known.get(name)
                if known is None or known.stamp != due[name]:
                    self._send(name, due[name])
            for name in sorted(self._known.keys() - here.keys() - due.keys()):
                for each in self._gone_with(name):
                    self._permit()
                    self._bucket.remove(each)
                del self._known[name]

    def refresh(self) -> bool:
        """Fetch what others wrote since, and remove what they removed; False where some changed too fast.

        Raises:
            DataError, Unreachable, OSError: see `publish`.
        """
        with self._lock:
            here, there = self._here(), self._there()
            news = {name: facts for name, facts in there.items() if self._is_news(name, facts, here)}
            is_whole = self._fetch_all(news)
            for name in filter(self._is_looked_at, self._known.keys() - there.keys() - self._sent):
                if name in here and self._known[name].stamp == here[name]:
                    (self._folder / name).unlink(missing_ok=True)
                    del self._known[name]
            return is_whole

    def obtain(self, part: str) -> None:
        """Fetch what there is of a folder and not here, wanted or not; raises as `publish`."""
        with self._lock:
            here = self._here()
            self._fetch_all({name: facts for name, facts in self._bucket.listed(part).items() if name not in here})

    def _is_news(self, name: str, facts: Facts, here: Mapping[str, Stamp]) -> bool:
        known = self._known.get(name)
        if name in self._sent:
            return False
        if known is None:
            return name not in here
        return known.version != facts.version and here.get(name) == known.stamp

    def _send(self, name: str, stamp: Stamp) -> None:
        with suppress(FileNotFoundError):  # removed since
            self._permit()
            self._sent.add(name)
            self._bucket.write(name, self._folder / name)
            self._known[name] = Known(None, stamp)

    def _fetch_all(self, news: Mapping[str, Facts]) -> bool:
        """Whether each was; side by side, since nearly all of it is waiting for the store."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return all(list(pool.map(self._fetch, news.keys(), news.values())))

    def _fetch(self, name: str, facts: Facts) -> bool:
        """Whether it was read as one whole, or is gone."""
        for _ in range(READINGS):
            content, failure = None, None
            try:
                content = self._bucket.read(name, 0, facts.size)
            except DataError as error:
                failure = error
            now = self._bucket.facts(name)
            if now is None:
                return True
            if now.version == facts.version:
                if content is None:
                    raise failure or DataError(f"{name}: cannot be read")
                self._write(name, content, facts)
                return True
            facts = now
        return False

    def _write(self, name: str, content: bytes, facts: Facts) -> None:
        file = self._folder / name
        if not (self._grows(name) and self._completed(name, content)):
            write_atomically(file, content)
        with suppress(FileNotFoundError):  # removed since
            if facts.modified is not None:
                os.utime(file, (facts.modified, facts.modified))
            self._known[name] = Known(facts.version, _stamp(file.stat()))

    def _completed(self, name: str, content: bytes) -> bool:
        """Whether the file held the beginning of the content; then the rest is added."""
        file = self._folder / name
        try:
            with filling(file.parent), file.open("r+b") as stream:
                beginning = stream.read()
                if not content.startswith(beginning):
                    return False
                stream.write(content[len(beginning) :])
        except FileNotFoundError:
            return False
        except OSError:  # some of it may be there: it is fetched anew
            file.unlink(missing_ok=True)
            self._known.pop(name, None)
            raise
        return True

    def _there(self) -> Mapping[str, Facts]:
        began, found = time.monotonic(), dict[str, Facts]()
        for part in self._parts:
            found |= self._bucket.listed(part)
        self.listing_seconds = time.monotonic() - began
        return {name: facts for name, facts in found.items() if self._is_looked_at(name)}

    def _is_looked_at(self, name: str) -> bool:
        is_part = any(part in ("", name) or name.startswith(f"{part}/") for part in self._parts)
        return is_part and not is_private(name) and self._mine(name) and self._wanted(name)

    def _here(self) -> dict[str, Stamp]:
        return {name: stamp for name, stamp in _stamps(self._folder) if self._mine(name)}


def is_private(name: str) -> bool:
    """Whether a file is its process's own: half written, a lock, or Ray's."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or name.endswith(".partial") or "logs/ray/" in f"{name}/"


def _stamps(folder: Path) -> Iterator[tuple[str, Stamp]]:
    """Of all files. What cannot be looked at must not count as removed, unless the folder that it is in has gone."""
    todo = [""]
    while todo:
        inside = todo.pop()
        try:
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = f"{inside}{entry.name}"
                    if is_private(name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(f"{name}/")
                    elif entry.is_file():
                        with suppress(FileNotFoundError):  # removed since
                            yield name, _stamp(entry.stat())
        except FileNotFoundError:
            if not folder.is_dir():
                raise


def _stamp(about: os.stat_result) -> Stamp:
    return Stamp(about.st_mtime_ns, about.st_size, about.st_ino)
