"""Decoded pictures for one rank, by selection: whoever on the host comes first decodes a class, the others wait."""

from __future__ import annotations

import logging
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from hlgp_dist.cores import usable_cores
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.class_store import Layout, class_layout
from hlgp_dist.data.decoding import Pixels
from hlgp_dist.data.filling import Counts, Filling
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.picture import Form
from hlgp_dist.data.pictures import Gathered, Pictures
from hlgp_dist.data.place import Place
from hlgp_dist.data.room import NoRoom
from hlgp_dist.data.selection import Selection
from hlgp_dist.data.source import BadSample
from hlgp_dist.data.stores import OfClass, Stores
from hlgp_dist.types import PictureSize

log = logging.getLogger("hlgp_dist")
_FILES = 2**16
"""One is open a class; many systems allow a thousand unless asked."""
_CLOSE_SECONDS = 10.0


class Opened(NamedTuple):
    """A selection's pictures. Those in `bad`, by sample id, must not be asked for.

    bytes_read: of the shards, when the classes were decoded, by whomever.
    """

    pictures: Gathered
    bad: dict[int, BadSample]
    bytes_read: int


class Library:
    """Opens selections of one shard folder at one size.

    Args:
        place: the shard folder that `manifest` describes; None where a recipe draws its pictures.
        manifest: see `read_manifest`.
        size: the pictures' size.
        cache: where stores are.
        workers: decoding threads, `None` for one a core; the result does not depend on it.
        keeps_bad: what cannot be decoded is told by `inspect`; else it raises.
    """

    def __init__(
        self,
        place: Place | None,
        manifest: Manifest,
        size: PictureSize,
        cache: Cache,
        *,
        workers: int | None = None,
        keeps_bad: bool = False,
    ) -> None:
        self.counts = Counts()
        self._place, self._manifest, self._size = place, manifest, size
        self._workers = workers or usable_cores()
        self._closing = threading.Event()
        self._stores = Stores(cache, Filling(self.counts, keeps_bad, self._closing))
        self._to_prepare: queue.SimpleQueue[list[Layout] | None] = queue.SimpleQueue()
        self._preparing: threading.Thread | None = None
        _allow_files()

    def open(self, selection: Selection, form: Form) -> Pictures:
        """The selection's pictures, all of them good.

        Raises:
            BadSample: the first that is not, even where bad ones are kept.
            DataError: a shard is missing or cannot be read.
        """
        opened = self.inspect(selection, form)
        for bad in opened.bad.values():
            raise bad
        return opened.pictures

    def inspect(self, selection: Selection, form: Form) -> Opened:
        """The selection's pictures, good and bad. Waits until all its classes are decoded; see `Stores.obtain`."""
        layouts = self._layouts(selection, form)
        found: dict[str, OfClass] = {}
        with _threads(min(self._workers, len(layouts))) as makers, _threads(self._workers) as decoders:
            for wait in (False, True):  # first what nobody is at, so that ranks share the classes
                missing = [layout for layout in layouts if layout.name not in found]
                obtain = partial(self._stores.obtain, run=decoders.map, wait=wait)
                for layout, pictures in zip(missing, makers.map(obtain, missing), strict=True):
                    if pictures is not None:
                        found[layout.name] = pictures
        return _gathered(selection, {layout: found[layout.name] for layout in layouts})

    def activity(self) -> object:
        """Changes while this process decodes, or another one that fills the same cache."""
        return self.counts.decoded, self.counts.bytes_read, self._stores.activity()

    def prepare(self, selection: Selection, form: Form) -> None:
        """Decode and check in the background, at low priority, what of it nobody has and nobody is at.

        What goes wrong there, opening meets again.
        """
        if self._preparing is None:
            self._preparing = threading.Thread(target=self._prepare, name="prepare", daemon=True)
            self._preparing.start()
        self._to_prepare.put(self._layouts(selection, form))

    def close(self) -> None:
        """Leave off preparing, and reading."""
        self._closing.set()
        if self._place is not None:
            self._place.close()
        if self._preparing is not None:
            self._to_prepare.put(None)
            self._preparing.join(_CLOSE_SECONDS)
            if self._preparing.is_alive():
                log.warning("pictures for the next task are still being read; not waited for")
            self._preparing = None

    def _layouts(self, selection: Selection, form: Form) -> list[Layout]:
        """Of the selection's classes."""
        pixels = Pixels(self._place, self._manifest, selection.split, self._size, form)
        classes = np.unique(pixels.split.class_index[selection.indices])
        return [class_layout(pixels, int(index)) for index in classes]

    def _prepare(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while (layouts := self._to_prepare.get()) is not None:
            for layout in layouts:
                try:
                    self._stores.prepare(layout)
                except CancelledError:
                    return
                except NoRoom:
                    log.info("no room to prepare the next pictures")
                    break
                except Exception as error:
                    log.info("the next pictures cannot be prepared: %s", error)


def _gathered(selection: Selection, found: dict[Layout, OfClass]) -> Opened:
    """The classes' pictures in the selection's order."""
    layouts = sorted(found, key=lambda layout: int(layout.indices[0]))
    pixels, starts = layouts[0].pixels, np.array([layout.indices[0] for layout in layouts])
    which = np.searchsorted(starts, selection.indices, side="right") - 1
    pictures = Gathered(
        classes=[found[layout].pictures for layout in layouts],
        which=which,
        position=selection.indices - starts[which],
        labels=selection.labels,
        shapes=pixels.shapes(selection.indices),
        size=pixels.size,
        form=pixels.form,
    )
    sample_of = {int(index): sample for sample, index in enumerate(selection.indices)}
    bad = {}
    for layout, of_class in found.items():
        for position, reason in of_class.record.bad.items():
            index = int(layout.indices[position])
            if index in sample_of:
                bad[sample_of[index]] = pixels.bad(index, reason)
    return Opened(pictures, dict(sorted(bad.items())), sum(of_class.record.bytes_read for of_class in found.values()))


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose waiting work is dropped at the end, which comes early by an exception alone."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _allow_files() -> None:
    """As many open files as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
