"""What became of each trial of a search, read from the trials' own run folders."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from hlgp_dist.config import schema
from hlgp_dist.train.folder import RunFolder


def forget_stopped(folder: Path, failed: set[str]) -> None:
    """Drop the failures of trials that did not fail: to a driver, being stopped by the scheduler looks like one.

    `failed` names the trials that Tune itself counts as failed.
    """
    for path in folder.glob("trial-*"):
        result = RunFolder(path).read_result()
        if result is not None and result["exit_code"] != 0 and path.name not in failed:
            RunFolder(path).result.unlink()


def trial_rows(folder: Path, search: schema.Search, errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a trial: what was sampled, how far it came, its objective and, if it failed, why.

    `errors`: what Tune says of the trials that failed; their own result.json knows better where there is one.
    """
    rows = []
    for path in sorted(folder.glob("trial-*")):
        sample = json.loads((path / "sample.json").read_text())
        result = RunFolder(path).read_result()
        row: dict[str, Any] = {"trial": path.name} | {key: sample[key] for key in search.space}
        rows.append(row | _outcome(path, result, errors.get(path.name)))
    return rows


def _outcome(path: Path, result: dict[str, Any] | None, error: str | None) -> dict[str, Any]:
    reports = validation_history(path)
    if result is not None:
        status, reason = ("done", "") if result["exit_code"] == 0 else ("failed", result["reason"])
    else:
        status, reason = ("stopped", "") if error is None else ("failed", error)
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


def as_csv(rows: list[dict[str, Any]]) -> str:
    """trials.csv."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["trial"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
