"""A list of pictures as a CSV or JSONL file with the columns path, class and split."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent, file_problem
from hlgp_dist.shards.listing import Picture, is_picture

COLUMNS = ("path", "class", "split")


def csv_rows(source: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with source.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            yield reader.line_num, dict(row)


def jsonl_rows(source: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with source.open(encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"{source}:{line}: not JSON ({error})") from error
            yield line, row if isinstance(row, dict) else {}


def of_rows(source: Path, rows: Iterable[tuple[int, dict[str, object]]]) -> Iterator[Picture]:
    """The pictures of a list. Paths are relative to it; `file` is free of links, so that a file has one name.

    Raises:
        DataError: a row is no picture; the message names its line.
    """
    for line, row in rows:
        where = f"{source}:{line}"
        path, class_name, split = (_text(row, column, where) for column in COLUMNS)
        file = source.parent / path
        if split not in SPLITS:
            raise DataError(f"{where}: split is {split!r}, not train or test")
        if "/" in class_name:
            raise DataError(f"{where}: class {class_name!r} holds a slash")
        if not is_picture(file.name, f"{where}: {path}"):
            raise DataError(f"{where}: {path} is not a .jpg, .jpeg or .png")
        if (problem := file_problem(file)) is not None:
            raise DataError(f"{where}: {file}: {problem}")
        yield Picture(split, class_name, path, Extent.whole(file.resolve()))


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
