"""Lists of test pictures: those that the package carries, and those of a user."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path, PurePosixPath

from hlgp_dist.errors import DataError
from hlgp_dist.shards.listing import SUFFIXES

Listed = frozenset[str]
"""The test pictures as CLASS/STEM."""

# `dataloaders/splits/imagenet-r_test.yaml` of GT-RIPL/CODA-Prompt, the split that the field compares on.
PACKAGED_LISTS = {"coda": "imagenet_r_coda_test.txt"}
"""The lists of test pictures that the package carries, by split."""


def packaged_list(name: str) -> Listed:
    """One of `PACKAGED_LISTS`."""
    file = files("hlgp_dist.benchmarks") / "splits" / name
    if not file.is_file():
        raise DataError(f"this installation lacks the list {name}; give the list by --split-file")
    return parse_list(file.read_text(encoding="utf-8"), name)


def read_list(file: Path) -> Listed:
    """A list of the user's: see `parse_list`."""
    try:
        return parse_list(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the split's list cannot be read ({error})") from error


def parse_list(content: str, where: str) -> Listed:
    """One CLASS/NAME a line, whatever stands before it; CODA-Prompt's YAML lists are such lines.

    Those have `data:` before the names, each behind a dash, then `targets:` and numbers, which say nothing new. Their
    paths go through train/ or test/, but that is where the pictures lay on their authors' disk: the file is the split.
    """
    listed = set()
    for number, line in enumerate(content.splitlines(), start=1):
        entry = line.strip().removeprefix("- ").strip("'\" ")
        if not entry or entry.startswith("#") or entry in ("data:", "targets:") or entry.isdecimal():
            continue
        path = PurePosixPath(entry)
        if len(path.parts) < 2:
            raise DataError(f"{where}:{number}: {entry!r} is not CLASS/NAME")
        name = path.stem if path.suffix.lower() in SUFFIXES else path.name
        listed.add(f"{path.parts[-2]}/{name}")
    if not listed:
        raise DataError(f"{where}: an empty list")
    return frozenset(listed)
