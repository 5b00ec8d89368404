"""Finished runs as tidy pandas frames: `hlgp_dist.study.frames.load(DIR)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.identity import identity
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.storage import View, journals, of_report
from hlgp_dist.study.collect import Found, Run, find
from hlgp_dist.study.sound import NUMBERS
from hlgp_dist.telemetry.journal import read_events

OF_ALL = ["run", "cell", "method", "seed"]


@dataclass(frozen=True)
class Frames:
    """runs: a row a finished run: study's cell and axes (`axis.NAME`), metrics as fractions, counts, seconds, bytes,
    and every identity value by its dotted key. accuracy: a row for each run, task learned and task tested. trials: a
    row a trial of each search. unfinished: folder and reason.

    The column `run` (`search`) is the folder, by which frames join.
    """

    runs: pd.DataFrame
    accuracy: pd.DataFrame
    trials: pd.DataFrame
    unfinished: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """By name."""
        return {"runs": self.runs, "accuracy": self.accuracy, "trials": self.trials, "unfinished": self.unfinished}


def load(*places: str) -> Frames:
    """What is below paths or URLs. Unlike runs stand in one frame: group by the columns in which they must agree.

    Raises:
        ConfigError: there is no such folder.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(place, View(of_report))).run() for place in places]
        return frames_of(find(folders))


def load_scalars(*places: str) -> pd.DataFrame:
    """Every scalar that TensorBoard shows of the finished runs: run, axis (step, task or run), step, tag, value, time.

    Times are Unix seconds. Larger than the rest by far, hence apart.

    Raises:
        ConfigError: there is no such folder.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(place, View(_with_journals))).run() for place in places]
        rows = [row for run in find(folders).runs for row in _scalars(run)]
    return pd.DataFrame(rows, columns=["run", "axis", "step", "tag", "value", "time"])


def frames_of(found: Found) -> Frames:
    """Its frames."""
    runs = found.runs
    trials = [{"search": str(search.folder), **trial} for search in found.searches for trial in search.trials]
    left = [{"run": str(entry.folder), "reason": entry.reason} for entry in found.unfinished]
    return Frames(
        pd.DataFrame([_row(run) for run in runs], columns=None if runs else OF_ALL),
        pd.DataFrame([row for run in runs for row in _accuracies(run)], columns=None if runs else OF_ALL),
        pd.DataFrame(trials, columns=None if trials else ["search", "trial"]),
        pd.DataFrame(left, columns=["run", "reason"]),
    )


def _axes(run: Run) -> dict[str, str]:
    return {} if run.member is None else {f"axis.{axis}": choice for axis, choice in run.member.choices.items()}


def _row(run: Run) -> dict[str, Any]:
    values = {key: value for key, value in identity(run.config).items() if key != "seed"}
    return {
        "run": str(run.folder),
        "cell": run.cell,
        **_axes(run),
        "method": run.config.method.kind,
        "seed": run.config.seed,
        **{key: run.number(key) for key in NUMBERS},
        "backbone.sha256_of_weights": run.result["backbone"]["sha256"],
        "dataset": run.result["dataset"],
        "evaluated_on": run.result["evaluated_on"],
        **{key: flow(value) if isinstance(value, list | dict) else value for key, value in values.items()},
    }


def _accuracies(run: Run) -> Iterator[dict[str, Any]]:
    matrix, images = run.matrix(), run.result["num_test_images"]
    first = len(matrix[-1]) - len(matrix)
    for after, row in enumerate(matrix, start=first):
        for task, accuracy in enumerate(row):
            yield {
                "run": str(run.folder),
                "cell": run.cell,
                **_axes(run),
                "method": run.config.method.kind,
                "seed": run.config.seed,
                "after_task": after,
                "task": task,
                "accuracy": accuracy,
                "num_test_images": images[task],
            }


def _scalars(run: Run) -> Iterator[tuple[str, str, int, str, float, float]]:
    for event in read_events(run.folder.path / "metrics.jsonl"):
        for tag, value in event.tags.items():
            yield str(run.folder), event.axis, event.step, tag, value, event.wall_time


def _with_journals(name: str) -> bool:
    return of_report(name) or journals(name)
