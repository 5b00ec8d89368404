"""What the trials of a search left in their own run folders."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train.folder import RunFolder

DECODED = "data/decoded_images"


def forget_failures_of(folder: Path, names: set[str]) -> None:
    """Drop what trials left that were ended from outside: to a driver that looks like a failure."""
    for name in names:
        result = RunFolder(folder / name).read_result()
        if result is not None and result["exit_code"] != 0:
            RunFolder(folder / name).result.unlink()


def objectives(folder: RunFolder) -> list[float]:
    """The objective after each finished task of a trial, from its accuracy matrix."""
    if not folder.matrix.is_file():
        return []
    with open(folder.matrix, newline="") as file:
        rows = list(csv.DictReader(file))
    return [fmean(float(cell) for name, cell in row.items() if name.startswith("task_") and cell) for row in rows]


def decoded_images(folder: RunFolder) -> int:
    """Pictures that the ranks of a run decoded, however it ended."""
    events = read_events(folder.path / "metrics.jsonl")
    return int(sum(event.tags.get(DECODED, 0.0) for event in events))
