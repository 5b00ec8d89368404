"""Where pictures come from: a folder of classes, a tar of such a folder, or a CSV/JSONL list.

Every source becomes a sorted list of `Picture`s, each a byte range of a file, so that nobody downstream
knows which kind it was and a tar is never extracted.
"""

from __future__ import annotations

import csv
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hlgp_dist.errors import ConfigError, DataError

SPLITS = ("train", "test")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
OTHER_PICTURES = frozenset({".bmp", ".gif", ".webp", ".tif", ".tiff"})
COLUMNS = ("path", "class", "split")


class Picture(NamedTuple):
    """One picture before sharding; `name` is its path below its class, or as a list file writes it.

    Its bytes are `file[offset : offset + size]`.
    """

    split: str
    class_name: str
    name: str
    file: str
    offset: int
    size: int


def list_pictures(source: str | Path) -> list[Picture]:
    """The pictures of `source`, sorted by split, class and name.

    Raises:
        ConfigError: `source` is of no known kind.
        DataError: it is missing, unreadable, unsafe or holds no training picture.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    try:
        pictures = sorted(_entries(source))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read ({error})") from error
    for previous, picture in pairwise(pictures):
        if previous[:3] == picture[:3]:
            raise DataError(f"{source}: {'/'.join(picture[:3])} is there twice")
    if not any(picture.split == "train" for picture in pictures):
        raise DataError(f"{source}: no picture train/CLASS/*.jpg, *.jpeg or *.png")
    return pictures


def _entries(source: Path) -> Iterable[Picture]:
    if source.is_dir():
        return _of_folder(source)
    match source.suffix.lower():
        case ".tar":
            return _of_tar(source)
        case ".csv":
            return _of_rows(source, _csv_rows(source))
        case ".jsonl":
            return _of_rows(source, _jsonl_rows(source))
    raise ConfigError(f"{source}: a source is a folder, an uncompressed .tar, a .csv or a .jsonl")


def _is_picture(name: str, where: str) -> bool:
    """Other picture formats are refused rather than skipped: nothing is lost silently."""
    path = PurePosixPath(name)
    if path.suffix.lower() in OTHER_PICTURES:
        raise DataError(f"{where}: only JPEG and PNG pictures can be sharded")
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _placed(parts: tuple[str, ...], file: str, offset: int, size: int, where: str) -> Iterator[Picture]:
    """The picture at SPLIT/CLASS/NAME, or nothing for what is no picture."""
    if not _is_picture(parts[-1], where):
        return
    if len(parts) < 3:
        raise DataError(f"{where}: not in a class folder (SPLIT/CLASS/NAME)")
    yield Picture(parts[0], parts[1], "/".join(parts[2:]), file, offset, size)


def _of_folder(source: Path) -> Iterator[Picture]:
    for split in SPLITS:
        for folder, _, names in os.walk(source / split, onerror=_refuse, followlinks=True):
            for name in names:
                file = Path(folder) / name
                parts = file.relative_to(source).parts
                yield from _placed(parts, str(file), 0, file.stat().st_size, str(file))


def _refuse(error: OSError) -> None:
    """`os.walk` skips folders it cannot read; a missing split alone is no error."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _of_tar(source: Path) -> Iterator[Picture]:
    """Members of an uncompressed tar, below an optional single top folder."""
    end = source.stat().st_size
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                yield from _of_member(source, member, end)
            _check_end(source, archive.offset)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{source}: not a readable, complete, uncompressed tar ({error})") from error


def _check_end(source: Path, offset: int) -> None:
    """`tarfile` takes a tar that is cut between two members for a whole one; a whole one ends in zeros."""
    with source.open("rb") as stream:
        stream.seek(offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{source}: the tar is truncated")


def _of_member(source: Path, member: tarfile.TarInfo, end: int) -> Iterator[Picture]:
    """Checks a member before trusting its name: no link, no device, nothing that leaves the archive's folder."""
    where = f"{source}: member {member.name}"
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where} leaves the folder it is in")
    if member.isdir():
        return
    if not member.isreg() or member.issparse():
        raise DataError(f"{where} is a link or a special file; only plain files are read")
    if member.offset_data + member.size > end:
        raise DataError(f"{where} is cut off: the tar is truncated")
    parts = path.parts if path.parts[0] in SPLITS else path.parts[1:]
    if parts and parts[0] in SPLITS:
        yield from _placed(parts, str(source), member.offset_data, member.size, where)


def _csv_rows(source: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with source.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            yield reader.line_num, dict(row)


def _jsonl_rows(source: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with source.open(encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"{source}:{line}: not JSON ({error})") from error
            yield line, row if isinstance(row, dict) else {}


def _of_rows(source: Path, rows: Iterable[tuple[int, dict[str, object]]]) -> Iterator[Picture]:
    """Paths are relative to the list file. A file may be listed once: twice could leak training into test."""
    first_line: dict[str, int] = {}
    for line, row in rows:
        where = f"{source}:{line}"
        path, class_name, split = (_text(row, column, where) for column in COLUMNS)
        file = source.parent / path
        if split not in SPLITS:
            raise DataError(f"{where}: split is {split!r}, not train or test")
        if "/" in class_name:
            raise DataError(f"{where}: class {class_name!r} holds a slash")
        if not _is_picture(file.name, f"{where}: {path}"):
            raise DataError(f"{where}: {path} is not a .jpg, .jpeg or .png")
        if not file.is_file():
            raise DataError(f"{where}: no such file {file}")
        resolved = str(file.resolve())
        if (seen := first_line.setdefault(resolved, line)) != line:
            raise DataError(f"{where}: {path} is listed on line {seen} already")
        yield Picture(split, class_name, path, str(file), 0, file.stat().st_size)


def _text(row: dict[str, object], column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: no {column}; columns are {', '.join(COLUMNS)}")
    if column != "path" and value != value.strip():
        raise DataError(f"{where}: {column} {value!r} begins or ends with a blank, which would make a class of its own")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {column} {value!r} cannot be written as text: {error.reason}") from error
    return value
