"""What became of each trial of a search, read from the trials' own run folders."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from hlgp_dist.train.folder import RunFolder


@dataclass(frozen=True)
class Ended:
    """What Tune knows of a trial that it no longer runs: the values it was given, and an error if it failed."""

    values: Mapping[str, Any]
    error: str | None


def forget_stopped(folder: Path, failed: set[str]) -> None:
    """Drop the failures of trials that did not fail: to a driver, being stopped by the scheduler looks like one.

    `failed` names the trials that Tune itself counts as failed.
    """
    for path in folder.glob("trial-*"):
        result = RunFolder(path).read_result()
        if result is not None and result["exit_code"] != 0 and path.name not in failed:
            RunFolder(path).result.unlink()


def trial_rows(folder: Path, trials: Mapping[str, Ended]) -> list[dict[str, Any]]:
    """One row a trial by name: what was sampled, how far it came, its objective and, if it failed, why.

    A trial's own result.json knows better than Tune why it failed; one that died early has left none, nor a folder.
    """
    return [{"trial": name, **trials[name].values, **_outcome(folder / name, trials[name])} for name in sorted(trials)]


def _outcome(path: Path, trial: Ended) -> dict[str, Any]:
    result = RunFolder(path).read_result()
    reports = validation_history(path)
    if result is not None:
        status, reason = ("done", "") if result["exit_code"] == 0 else ("failed", result["reason"])
    else:
        status, reason = ("stopped", "") if trial.error is None else ("failed", trial.error)
    return {
        "status": status,
        "tasks_finished": len(reports),
        "objective": reports[-1] if reports else None,
        "reason": reason,
    }


def first_line(error: BaseException) -> str:
    """Of its cause's message, without Ray's wrapping."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def validation_history(path: Path) -> list[float]:
    """The objective after each finished task of a trial, from its accuracy matrix."""
    matrix = path / "accuracy_matrix.csv"
    if not matrix.is_file():
        return []
    with open(matrix, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [fmean(float(cell) for cell in row[1:] if cell) for row in rows]
