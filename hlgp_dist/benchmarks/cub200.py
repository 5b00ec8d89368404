"""CUB-200-2011: pictures by number, whose class and split stand in lists beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.members import pictures, rows
from hlgp_dist.errors import DataError
from hlgp_dist.shards.listing import Picture

Value = TypeVar("Value")
_SPLIT = {"0": "test", "1": "train"}


def read(members: Members) -> list[Picture]:
    """By the authors' lists; the classes' names begin with their numbers, so that sorted they are in order."""
    paths = _column(members, "images.txt")
    classes = _column(members, "classes.txt")
    labels = _column(members, "image_class_labels.txt")
    splits = _column(members, "train_test_split.txt")
    by_path = {"/".join(path.parts[-2:]): extent for path, extent in pictures(members).items()}
    found = []
    for number, path in paths.items():
        class_name = _of(classes, _of(labels, number, "image_class_labels.txt"), "classes.txt")
        split = _of(_SPLIT, _of(splits, number, "train_test_split.txt"), "train_test_split.txt: 0 and 1")
        if PurePosixPath(path).parent.name != class_name:
            raise DataError(f"images.txt: {path} is not in the folder of its class {class_name}")
        extent = _of(by_path, path, "the archive's pictures, which images.txt lists")
        found.append(Picture(split, class_name, PurePosixPath(path).name, extent))
    return found


def _column(members: Members, name: str) -> dict[str, str]:
    """The second column by the first."""
    table = rows(members, name, 2)
    column = {cells[0]: cells[1] for cells in table}
    if len(column) != len(table):
        raise DataError(f"{name}: a number is there twice")
    return column


def _of(column: Mapping[str, Value], key: str, name: str) -> Value:
    if key not in column:
        raise DataError(f"{name}: nothing for {key}")
    return column[key]
