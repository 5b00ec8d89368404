"""Where pictures come from: a folder of classes, a tar of such a folder, or a CSV/JSONL list. Read one by one."""

from __future__ import annotations

import csv
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import ConfigError, DataError, counted
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Listing, Picture, in_order, is_picture
from hlgp_dist.shards.rows import csv_rows, jsonl_rows, of_rows
from hlgp_dist.shards.tar_members import check_end, plain_members

_TOPS = tuple((split,) for split in SPLITS)
log = logging.getLogger(__name__)


class LeftOut:
    """How many places of a source hold no picture of a split, and the first of them by name."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, place: str) -> None:
        self.first = place if self.count == 0 else min(self.first, place)
        self.count += 1


def list_pictures(source: str | Path) -> Listing:
    """The pictures of `source`. What was left out is said in a warning.

    Raises:
        ConfigError: `source` is of no known kind.
        DataError: it is missing, unreadable, unsafe or holds no training picture.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    left_out = LeftOut()
    try:
        pictures = in_order(_entries(source, left_out), source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read ({error})") from error
    if source.is_file() and source.suffix.lower() != ".tar" and (names := pictures.twice()):
        raise DataError(f"{source}: one file is listed twice, as {' and '.join(names)}: it could be in both splits")
    if left_out.count:
        places = counted(left_out.count, "place")
        log.warning("%s: no picture of a split in %s, first %s", source, places, left_out.first)
    if "test" not in pictures.splits:
        log.warning("%s: there is no test picture; a run needs some of every class", source)
    return pictures


def _entries(source: Path, left_out: LeftOut) -> Iterator[Picture]:
    if source.is_dir():
        return _of_folder(source, left_out)
    match source.suffix.lower() if source.is_file() else None:
        case ".tar":
            return _of_tar(source, left_out)
        case ".csv":
            return of_rows(source, csv_rows(source))
        case ".jsonl":
            return of_rows(source, jsonl_rows(source))
    raise ConfigError(f"{source}: a source is a folder, an uncompressed .tar, a .csv or a .jsonl")


def _of_folder(source: Path, left_out: LeftOut) -> Iterator[Picture]:
    for path in source.iterdir():
        if path.is_dir() and path.name not in SPLITS:
            left_out.add(str(path))
    for split in SPLITS:
        if (source / split).is_dir():
            yield from _below(str(source / split), (split,), left_out)


def _below(folder: str, parts: tuple[str, ...], left_out: LeftOut) -> Iterator[Picture]:
    """A folder's pictures and those of the folders in it, links followed, one entry at a time.

    What is named as a picture and is no file is taken for one of no bytes, which the writer names with all bad ones.
    """
    is_empty = True
    with os.scandir(folder) as entries:
        for entry in entries:
            is_empty = False
            if entry.is_dir():
                yield from _below(entry.path, (*parts, entry.name), left_out)
                continue
            size = entry.stat().st_size if entry.is_file() else 0
            if (picture := _placed((*parts, entry.name), Extent(entry.path, 0, size), entry.path)) is not None:
                yield picture
            elif entry.is_symlink() and not Path(entry.path).exists():
                raise DataError(f"{entry.path}: a link to nothing; was it a folder of pictures?")
            else:
                left_out.add(entry.path)
    if is_empty:
        left_out.add(folder)


def _of_tar(source: Path, left_out: LeftOut) -> Iterator[Picture]:
    """Members of an uncompressed tar, below an optional single top folder."""
    end = source.stat().st_size
    try:
        with tarfile.open(source, "r:") as archive:
            for member, path in plain_members(archive, source):
                where = f"{source}: member {member.name}"
                if member.offset_data + member.size > end:
                    raise DataError(f"{where} is cut off: the tar is truncated")
                parts = path.parts if path.parts[:1] in _TOPS else path.parts[1:]
                in_split = parts[:1] in _TOPS
                extent = Extent(str(source), member.offset_data, member.size)
                picture = _placed(parts, extent, where) if in_split else None
                if picture is None:
                    left_out.add(member.name)
                else:
                    yield picture
            with source.open("rb") as stream:
                check_end(stream, archive.offset, source)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{source}: not a readable, complete, uncompressed tar ({error})") from error


def _placed(parts: tuple[str, ...], extent: Extent, where: str) -> Picture | None:
    """The picture at SPLIT/CLASS/NAME, or None for what is no picture."""
    if not is_picture(parts[-1], where):
        return None
    if len(parts) < 3:
        raise DataError(f"{where}: not in a class folder (SPLIT/CLASS/NAME)")
    return Picture(parts[0], parts[1], "/".join(parts[2:]), extent)
