"""The pictures to be sharded, sorted: each a byte range of a file, so that nobody downstream knows their source's kind.

A million of them are no million objects: they wait in a temporary table on the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

from hlgp_dist.data.record import Names
from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.shards.extent import Extent

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
OTHER_PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".npy", ".ppm", ".tif", ".tiff", ".webp"}
)
_CACHE_KIB = 64 * 1024
_TABLE = """
CREATE TABLE pictures (split TEXT, class BLOB, name BLOB, file BLOB, start INTEGER, length INTEGER,
                       PRIMARY KEY (split, class, name)) WITHOUT ROWID
"""


class Picture(NamedTuple):
    """One picture before sharding; `name` is its path below its class, or as a list file writes it."""

    split: str
    class_name: str
    name: str
    extent: Extent

    @property
    def names(self) -> Names:
        """What it is called, wherever it lies."""
        return Names(self.split, self.class_name, self.name)


class Listing:
    """Pictures in the order of split, class and name; the table goes with the object.

    Names are kept as bytes: a file's name need not be text.
    """

    def __init__(self, entries: Iterable[Picture], source: object) -> None:
        """Raises DataError where a picture is there twice; `source` is what a message names."""
        self._source = source
        self._table = sqlite3.connect("", isolation_level=None)
        with self._disk_errors():
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
                self._table.execute(f"PRAGMA {setting}")
            self._table.execute(_TABLE)
            self._table.execute("BEGIN")
        for picture in entries:
            self._add(picture)

    def _add(self, picture: Picture) -> None:
        names = (os.fsencode(picture.class_name), os.fsencode(picture.name), os.fsencode(picture.extent.file))
        try:
            with self._disk_errors():
                row = (picture.split, *names, picture.extent.offset, picture.extent.size)
                self._table.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise DataError(f"{self._source}: {picture.names} is there twice") from None

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise EnvironmentFailure(
                f"{self._source}: its listing does not fit on the disk of temporary files ({error}); "
                "set TMPDIR to a larger one"
            ) from error

    def __len__(self) -> int:
        return int(self._one("COUNT(*)"))

    def __iter__(self) -> Iterator[Picture]:
        rows = self._table.execute("SELECT * FROM pictures ORDER BY split, class, name")
        for split, class_name, name, file, start, length in rows:
            extent = Extent(os.fsdecode(file), start, length)
            yield Picture(split, os.fsdecode(class_name), os.fsdecode(name), extent)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that have pictures, sorted."""
        return tuple(split for (split,) in self._table.execute("SELECT DISTINCT split FROM pictures ORDER BY split"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(
            sorted(os.fsdecode(name) for (name,) in self._table.execute("SELECT DISTINCT class FROM pictures"))
        )

    def total(self, block: int) -> int:
        """Bytes of all pictures, each rounded up to whole blocks."""
        return int(self._one(f"SUM((length + {block - 1}) / {block} * {block})"))

    def twice(self) -> tuple[str, ...]:
        """Two names of one file, where there is such a file; else nothing."""
        twice = "(SELECT file FROM pictures GROUP BY file HAVING COUNT(*) > 1 LIMIT 1)"
        rows = self._table.execute(f"SELECT name FROM pictures WHERE file = {twice} LIMIT 2")
        return tuple(os.fsdecode(name) for (name,) in rows)

    def _one(self, expression: str) -> int:
        (value,) = self._table.execute(f"SELECT {expression} FROM pictures").fetchone()
        return value or 0

    def close(self) -> None:
        """Free the disk now."""
        self._table.close()


def is_picture(name: str, where: str) -> bool:
    """Whether a file is taken; other picture formats are refused rather than skipped: nothing is lost silently."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in OTHER_PICTURES:
        raise DataError(f"{where}: only JPEG and PNG pictures can be sharded")
    return suffix in SUFFIXES and not name.startswith(".")


def in_order(entries: Iterable[Picture], source: object) -> Listing:
    """The pictures as a listing; `source` is what a message names.

    Raises:
        DataError: one is there twice, none is for training, or a class has a name that cannot be shown.
    """
    listing = Listing(entries, source)
    if "train" not in listing.splits:
        raise DataError(f"{source}: no picture train/CLASS/*.jpg, *.jpeg or *.png")
    for name in listing.classes:
        if name != name.strip() or not name.isprintable():
            raise DataError(f"{source}: class {name!r} begins or ends with a blank or holds a control character")
    return listing
