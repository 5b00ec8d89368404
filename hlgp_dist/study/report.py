"""`hlgp report`: finished runs side by side, on the terminal, as comparison.md and as comparison.csv."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import as_csv, write_text
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.storage import View, of_report
from hlgp_dist.study.collect import Unfinished, find_runs
from hlgp_dist.study.comparison import Comparison, compare
from hlgp_dist.study.likeness import alike
from hlgp_dist.terminal import Grid, console, show_grid
from hlgp_dist.train.folder import RunFolder


def run_report(places: Sequence[str], *, out: Path | None, baseline: str | None, apart: bool = False) -> None:
    """Compare what finished below the paths or URLs; the files go to `out`, else into the first of them.

    apart: unlike runs stand in tables of their own, in place of being refused.

    Raises:
        ConfigError: the runs do not stand in one table, or no row of any is the baseline.
        DataError: no run has finished.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(place, View(of_report))).run() for place in places]
        _report(folders, folders[0] if out is None else RunFolder(out), baseline, apart)


def _report(folders: Sequence[RunFolder], target: RunFolder, baseline: str | None, apart: bool) -> None:
    runs, unfinished = find_runs(folders)
    left_out = [f"{entry.folder}: {entry.reason}" for entry in unfinished]
    if not runs:
        places = ", ".join(map(str, folders))
        raise DataError("\n  ".join([f"no finished run below {places}", *left_out]))
    comparisons = [compare(like, baseline) for like in (alike(runs) if apart else [runs])]
    _check_baseline(baseline, [label for comparison in comparisons for label in comparison.labels])
    rows = [dict(row) for comparison in comparisons for row in comparison.rows]
    write_text(target.path / "comparison.csv", as_csv(rows))
    write_text(target.path / "comparison.md", markdown(comparisons, unfinished))
    for comparison in comparisons:
        _show(comparison)
    for line in left_out:
        console.print(f"left out: {line}", markup=False, soft_wrap=True)
    console.print(f"one row a run: {target}/comparison.csv\nas Markdown:   {target}/comparison.md", soft_wrap=True)


def _check_baseline(baseline: str | None, labels: Sequence[str]) -> None:
    if baseline is not None and baseline not in labels:
        raise ConfigError(f"--baseline: no row is {baseline!r}; there are: {'; '.join(dict.fromkeys(labels))}")


def _show(comparison: Comparison) -> None:
    console.print(comparison.shared, markup=False, soft_wrap=True)
    for grid in comparison.grids:
        show_grid(grid)
    for note in comparison.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def markdown(comparisons: Sequence[Comparison], unfinished: Sequence[Unfinished]) -> str:
    """The tables, the notes and what was left out, to paste into a document."""
    parts = []
    for comparison in comparisons:
        parts += ["# Comparison", comparison.shared, *map(_table, comparison.grids)]
        if comparison.notes:
            parts += ["Notes:", "\n".join(f"- {note}" for note in comparison.notes)]
    left_out = [f"- {entry.folder}: {entry.reason}" for entry in unfinished]
    if left_out:
        parts += ["Left out:", "\n".join(left_out)]
    return "\n\n".join(parts) + "\n"


def _table(grid: Grid) -> str:
    lines = [grid.columns, ["---"] * len(grid.columns), *grid.rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([f"{grid.title[:1].upper()}{grid.title[1:]}:", "", *(f"| {' | '.join(line)} |" for line in cells)])
