"""What the terminal shows: results and searches as tables."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.markup import escape
from rich.table import Table

from hlgp_dist.shards.info import Info
from hlgp_dist.study.searches import Trial, search_grid
from hlgp_dist.telemetry.progress import rate
from hlgp_dist.terminal import console, show_grid
from hlgp_dist.train.folder import BEST, RunFolder
from hlgp_dist.train.metrics import METRICS

WIDE = 7
"""Tasks beside which a matrix of 80 columns has no room for words."""
REASON = 60
"""Letters of a trial's."""


def show_run(folder: RunFolder, result: Mapping[str, Any]) -> None:
    """The accuracy matrix, the metrics and where to look next."""
    show_matrix(result["accuracy_matrix"])
    console.print(metrics_table({folder.name: result}))
    if result.get("estimated"):
        console.print(estimates_line(result), soft_wrap=True)
    console.print(f"run folder: {folder}\ncurves:     {tensorboard_command(folder)}", soft_wrap=True)


def estimates_line(result: Mapping[str, Any]) -> str:
    """Of a run that tested earlier tasks in part: what follows from that."""
    part, keys = f"{100 * result['old_task_fraction']:g} %", ", ".join(result["estimated"])
    return f"estimates, by {part} of the earlier tasks' pictures: all rows but the first and the last; {keys}"


def tensorboard_command(folder: Path | RunFolder) -> str:
    """As this shell can run it: `hlgp` where it is on the PATH, else the path it was called by."""
    command = "hlgp" if shutil.which("hlgp") else sys.argv[0]
    return f"{command} tensorboard {folder}"


def show_matrix(matrix: Sequence[Sequence[float | None]]) -> None:
    """Accuracy in percent: a row after each task, a column a task. No number is cut, however narrow the terminal."""
    columns = len(matrix[-1])
    if columns > WIDE:
        tasks, title, width = [str(i) for i in range(columns)], "accuracy, %, a column a task", columns * 6 + 7
        table = Table("after", *tasks, title=title, padding=0, width=width)
    else:
        table = Table("after task", *(f"task {i}" for i in range(columns)), title="accuracy, %")
    for t, row in enumerate(matrix):
        table.add_row(str(t), *("" if value is None else f"{100 * value:.1f}" for value in row))
    console.print(table, crop=False)


def metrics_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """One column a run; accuracies in percent."""
    table = Table("", *results, title="metrics")
    for metric in METRICS.values():
        if metric.title is None:
            continue
        cells = (result[metric.in_result] for result in results.values())
        table.add_row(f"{metric.title}, %", *("-" if cell is None else f"{100 * cell:.1f}" for cell in cells))
    table.add_row(
        "trained parameters a task", *(f"{result['num_trainable_parameters']:,}" for result in results.values())
    )
    speeds = (result["images_per_second"] for result in results.values())
    table.add_row("training images/s", *("-" if speed is None else rate(speed) for speed in speeds))
    return table


def show_search(folder: RunFolder, trials: Sequence[Trial]) -> None:
    """Its table; what is left out of long reasons stands in trials.csv."""
    short = [{**trial, "reason": shorten(str(trial["reason"] or ""), REASON, placeholder=" ...")} for trial in trials]
    show_grid(search_grid(short, f"trials of {folder.name}"))


def show_outcome(folder: RunFolder, outcome: Mapping[str, Any]) -> None:
    """The winner's values, and what it came to on the test pictures."""
    values = " ".join(f"{key}={value}" for key, value in outcome["best_values"].items())
    console.print(f"best: {outcome['best_trial']} ({values}), refitted on all training pictures and tested once:")
    show_run(folder.below(BEST), outcome["test"])


def show_dataset(folder: str | Path, info: Info) -> None:
    """Counts and sizes of a shard folder."""
    table = Table(
        "split", "pictures", "a class", "shards", "MiB", title=f"{folder}: {len(info.classes)} classes", min_width=60
    )
    for name, split in info.splits.items():
        a_class = f"{split.fewest}" if split.fewest == split.most else f"{split.fewest} to {split.most}"
        table.add_row(name, f"{split.pictures:,}", a_class, str(split.shards), f"{split.bytes / 2**20:.1f}")
    console.print(table)
    for name, split in info.splits.items():
        console.print(
            f"{name} pixels, least / median / most: width {split.width}, height {split.height}", soft_wrap=True
        )
    if info.encoding.resize is not None:
        console.print(f"stored: shorter side at most {info.encoding.resize}, JPEG quality {info.encoding.quality}")
    if info.origin is not None:
        console.print("\n".join([f"prepared: {info.origin}", *info.origin.differences]), soft_wrap=True, markup=False)


def show_classes(info: Info) -> None:
    """Pictures of each class, in the order of their names."""
    table = Table("class", *info.splits, title="pictures")
    for name in info.classes:
        table.add_row(escape(name), *(str(info.counts[name].get(split, 0)) for split in info.splits))
    console.print(table)
