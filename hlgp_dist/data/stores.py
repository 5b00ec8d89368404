"""A host's class stores: made where there is room, checked when a process first sees one, made again if damaged."""

from __future__ import annotations

import logging
import os
from concurrent.futures import CancelledError
from functools import partial
from typing import NamedTuple

from hlgp_dist.data.cache import Cache, Held
from hlgp_dist.data.class_store import (
    Damaged,
    Layout,
    Mapped,
    Record,
    check_pictures,
    read_record,
    write_picture,
    write_record,
)
from hlgp_dist.data.direct import Direct
from hlgp_dist.data.filling import Filling, Map
from hlgp_dist.data.pictures import ClassPictures
from hlgp_dist.data.room import NoRoom
from hlgp_dist.errors import EnvironmentFailure

log = logging.getLogger("hlgp_dist")


class OfClass(NamedTuple):
    """A class's pictures, and what decoding it took and came to."""

    pictures: ClassPictures
    record: Record


class Stores:
    """Those in a cache. Threads may ask at once."""

    def __init__(self, cache: Cache, filling: Filling) -> None:
        self._cache = cache
        self._filling = filling
        self._checked: set[tuple[str, int, str]] = set()
        self._is_warned = False

    def obtain(self, layout: Layout, *, run: Map, wait: bool) -> OfClass | None:
        """The class, mapped; where there is no room, decoded at every access, and once now if bad samples are kept.

        None where another is making it and `wait` is False.

        Raises:
            BadSample: there is one, and they are not kept.
            DataError: a shard is missing or cannot be read.
        """
        try:
            return self._stored(layout, run=run, wait=wait)
        except NoRoom as error:
            self._warn(error)
        record = Record([], {}, 0, stamp="")
        if self._filling.keeps_bad_of(layout):
            record = self._filling.fill(layout, lambda position, picture: 0, run)
        return OfClass(Direct(layout, self._filling.counts), record)

    def activity(self) -> object:
        """Changes while anybody on this host writes a store."""
        return self._cache.activity()

    def prepare(self, layout: Layout) -> None:
        """Make or check it without waiting for anybody; see `obtain`.

        Raises:
            NoRoom: as it says.
            CancelledError: likewise.
        """
        if self._filling.cancelled.is_set():
            raise CancelledError
        self._stored(layout, run=map, wait=False)

    def _stored(self, layout: Layout, *, run: Map, wait: bool) -> OfClass | None:
        write = partial(self._write, layout, run)
        while (held := self._cache.obtain(layout.name, layout.room, write, wait=wait)) is not None:
            try:
                record = self._read(held, layout)
                if record is not None:
                    return OfClass(Mapped(held.descriptor, layout), record)
                self._cache.discard(layout.name, held.descriptor)
            finally:
                os.close(held.descriptor)
        return None

    def _read(self, held: Held, layout: Layout) -> Record | None:
        """The record of a good file; None where it is to be made again. Checked once a process and file."""
        try:
            record = read_record(held.descriptor, layout)
            identity = (layout.name, os.fstat(held.descriptor).st_ino, record.stamp)
            if not held.made and identity not in self._checked:
                check_pictures(held.descriptor, layout, record, self._filling.cancelled)
        except (Damaged, OSError) as damage:
            if held.made:
                raise EnvironmentFailure(f"{self._cache.folder}: is not read as it was written: {damage}") from damage
            self._filling.counts.add(damaged=1)
            log.warning("%s: class store %s is damaged and made again: %s", self._cache.folder, layout.name, damage)
            return None
        self._checked.add(identity)
        is_final = not record.bad or self._filling.keeps_bad_of(layout)
        return record if is_final else None  # what could not be read may have been mended

    def _write(self, layout: Layout, run: Map, descriptor: int) -> int:
        record = self._filling.fill(layout, partial(write_picture, descriptor, layout), run)
        return write_record(descriptor, layout, record)

    def _warn(self, error: NoRoom) -> None:
        """Once a process."""
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "data.cache_limit_gb: no room for %s; what finds none is decoded again at every access, which is slow: "
                "raise the limit, or give data.cache_dir on a larger disk",
                error,
            )
