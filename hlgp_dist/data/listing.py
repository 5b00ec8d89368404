"""Where pictures come from: a folder of classes, a tar of such a folder, or a CSV/JSONL list.

Every source becomes a sorted list of `Picture`s, each a byte range of a file, so that nobody downstream
knows which kind it was and a tar is never extracted.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import tarfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from hlgp_dist.errors import ConfigError, DataError

SPLITS = ("train", "test")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
OTHER_PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".npy", ".ppm", ".tif", ".tiff", ".webp"}
)
COLUMNS = ("path", "class", "split")
log = logging.getLogger(__name__)


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
    """The pictures of `source`, sorted by split, class and name. What was left out is said in a warning.

    Raises:
        ConfigError: `source` is of no known kind.
        DataError: it is missing, unreadable, unsafe or holds no training picture.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    left_out: list[str] = []
    try:
        pictures = in_order(_entries(source, left_out), source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read ({error})") from error
    if left_out:
        log.warning("%s: %d places hold no picture of a split, first %s", source, len(left_out), sorted(left_out)[0])
    if pictures[0].split == "train":  # test sorts first
        log.warning("%s: there is no test picture; a run needs some of every class", source)
    return pictures


def in_order(entries: Iterable[Picture], source: object) -> list[Picture]:
    """The pictures sorted by split, class and name; `source` is what a message names.

    Raises:
        DataError: one is there twice, none is for training, or a class has a name that cannot be shown.
    """
    pictures = sorted(entries)
    for previous, picture in pairwise(pictures):
        if previous[:3] == picture[:3]:
            raise DataError(f"{source}: {'/'.join(picture[:3])} is there twice")
    if not any(picture.split == "train" for picture in pictures):
        raise DataError(f"{source}: no picture train/CLASS/*.jpg, *.jpeg or *.png")
    for class_name in {picture.class_name for picture in pictures}:
        _check_class(class_name, source)
    return pictures


def _check_class(name: str, source: object) -> None:
    if name != name.strip() or not name.isprintable():
        raise DataError(f"{source}: class {name!r} begins or ends with a blank or holds a control character")


def _entries(source: Path, left_out: list[str]) -> Iterable[Picture]:
    if source.is_dir():
        return _of_folder(source, left_out)
    match source.suffix.lower():
        case ".tar":
            return _of_tar(source, left_out)
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


def _placed(parts: tuple[str, ...], file: str, offset: int, size: int, where: str) -> Picture | None:
    """The picture at SPLIT/CLASS/NAME, or None for what is no picture."""
    if not _is_picture(parts[-1], where):
        return None
    if len(parts) < 3:
        raise DataError(f"{where}: not in a class folder (SPLIT/CLASS/NAME)")
    return Picture(parts[0], parts[1], "/".join(parts[2:]), file, offset, size)


def _of_folder(source: Path, left_out: list[str]) -> Iterator[Picture]:
    left_out += [str(path) for path in source.iterdir() if path.is_dir() and path.name not in SPLITS]
    for split in SPLITS:
        for folder, folders, names in os.walk(source / split, onerror=_refuse, followlinks=True):
            if not folders and not names:
                left_out.append(folder)
            for name in names:
                file = Path(folder) / name
                parts = file.relative_to(source).parts
                picture = _placed(parts, str(file), 0, file.stat().st_size, str(file))
                if picture is None:
                    left_out.append(str(file))
                else:
                    yield picture


def _refuse(error: OSError) -> None:
    """`os.walk` skips folders it cannot read; a missing split alone is no error."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _of_tar(source: Path, left_out: list[str]) -> Iterator[Picture]:
    """Members of an uncompressed tar, below an optional single top folder."""
    end = source.stat().st_size
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                picture = _of_member(source, member, end)
                if picture is not None:
                    yield picture
                elif not member.isdir():
                    left_out.append(member.name)
            with source.open("rb") as stream:
                check_end(stream, archive.offset, source)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{source}: not a readable, complete, uncompressed tar ({error})") from error


def check_end(stream: BinaryIO, offset: int, source: Path) -> None:
    """`tarfile` takes a tar that is cut between two members for a whole one; a whole one ends in zeros."""
    stream.seek(offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{source}: the tar is truncated")


def _of_member(source: Path, member: tarfile.TarInfo, end: int) -> Picture | None:
    where = f"{source}: member {member.name}"
    path = safe_path(member.name, where)
    if not is_plain(member, where):
        return None
    if member.offset_data + member.size > end:
        raise DataError(f"{where} is cut off: the tar is truncated")
    parts = path.parts if path.parts[0] in SPLITS else path.parts[1:]
    if not parts or parts[0] not in SPLITS:
        return None
    return _placed(parts, str(source), member.offset_data, member.size, where)


def safe_path(name: str, where: str) -> PurePosixPath:
    """A member's path, checked before anyone trusts it: nothing that leaves the archive's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where} leaves the folder it is in")
    return path


def is_plain(member: tarfile.TarInfo, where: str) -> bool:
    """True of a plain file, False of a folder; a link or a device is refused."""
    if member.isdir():
        return False
    if not member.isreg() or member.issparse():
        raise DataError(f"{where} is a link or a special file; only plain files are read")
    return True


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
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {column} is {value!r}; it must be text, in quotes")
    if not value:
        found = ", ".join(name for name in row if isinstance(name, str)) or "none"
        raise DataError(f"{where}: no {column}; columns are {', '.join(COLUMNS)}, separated by commas; found: {found}")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {column} {value!r} cannot be written as text: {error.reason}") from error
    return value
