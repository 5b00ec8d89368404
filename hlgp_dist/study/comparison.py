"""Cells side by side: what a table shows of them, what a note must say, one CSV row a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.study.cells import CONDITIONS, Cell, cells_of, settings_that_differ
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import (
    differing,
    folder_of,
    may_differ,
    moves_speed,
    must_agree,
    refuse_unlike,
    speed_doubts,
    told,
)
from hlgp_dist.study.statistics import FEWEST_SEEDS, Interval, Spread, paired_bootstrap, spread
from hlgp_dist.study.tables import estimates_line
from hlgp_dist.terminal import Grid
from hlgp_dist.train import metrics

NOTHING = "-"
COUNTS = {
    "num_trainable_parameters": "trained a task",
    "num_stored_parameters": "stored",
    "num_head_parameters": "head",
    "passes_per_image.training": "passes, training",
    "passes_per_image.test": "passes, test",
}
SPEEDS = {"images_per_second": "images/s", "training_seconds": "training seconds"}


@dataclass(frozen=True)
class Comparison:
    """What `hlgp report` says; `shared` holds for every row, `rows` are for a CSV, un-rounded."""

    shared: str
    accuracies: Grid
    costs: Grid
    differences: Sequence[Grid]
    notes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def grids(self) -> list[Grid]:
        """All of them."""
        return [self.accuracies, self.costs, *self.differences]


def compare(runs: Sequence[Run], baselines: Collection[str] = ()) -> Comparison:
    """At least one run; differences to each cell that has one of these labels.

    Raises:
        ConfigError: the runs are not alike, or two are of one cell and seed.
    """
    refuse_unlike(runs)
    cells = cells_of(runs)
    return Comparison(
        shared=_shared(runs[0]),
        accuracies=_accuracies(cells),
        costs=_costs(cells, comparable_speed=not speed_doubts(runs)),
        differences=[_differences(cells, cell) for cell in cells if cell.label in baselines],
        notes=_notes(runs, cells),
        rows=_rows(cells),
    )


def _shared(run: Run) -> str:
    same, weights, origin = must_agree(run), run.config.backbone.weights, run.result.get("prepared_from")
    source = {"hub": "weights from the hub", "none": "random weights"}.get(weights, f"weights {Path(weights).name}")
    dataset = same["dataset"][:12] if origin is None else f"{origin} ({same['dataset'][:12]})"
    pictures = f"{sum(same['num_test_images'])} {same['evaluated_on']} pictures"
    sizes = ", ".join(map(str, same["task_sizes"]))
    return (
        f"{same['backbone.name']}, {source} (sha256 {same['backbone.sha256'][:12]}); data set {dataset}; {pictures}; "
        f"tasks of {sizes} classes in one order"
    )


def _conditions(cells: Sequence[Cell]) -> list[str]:
    """The keys of `CONDITIONS` in which the cells are not alike."""
    return [key for key in CONDITIONS if len({cell.settings[key] for cell in cells}) > 1]


def _accuracies(cells: Sequence[Cell]) -> Grid:
    known = {metric.in_result: metric.column for metric in metrics.METRICS.values() if metric.column is not None}
    columns = {key: title for key, title in known.items() if any(_values(cell, key) for cell in cells)}
    conditions = _conditions(cells)
    titles = ["method", *(CONDITIONS[key][0] for key in conditions), "seeds", *columns.values()]

    def row(cell: Cell) -> list[str]:
        given = (cell.settings[key] for key in conditions)
        return [cell.label, *given, str(len(cell.runs)), *(percent(_values(cell, key)) for key in columns)]

    return Grid("%, mean ± sample standard deviation over seeds", titles, [row(cell) for cell in cells])


def _costs(cells: Sequence[Cell], *, comparable_speed: bool) -> Grid:
    titles = COUNTS | SPEEDS
    keys = [key for key in titles if any(_values(cell, key) for cell in cells)]

    def cost(cell: Cell, key: str) -> str:
        values = _values(cell, key)
        if key in COUNTS:
            return " or ".join(f"{value:,}" for value in sorted(set(values))) or NOTHING
        return _plus_minus(spread(values)) if values and comparable_speed else NOTHING

    rows = [[cell.label, *(cost(cell, key) for key in keys)] for cell in cells]
    return Grid("parameters and costs", ["method", *(titles[key] for key in keys)], rows)


def _differences(cells: Sequence[Cell], baseline: Cell) -> Grid:
    others = [cell for cell in cells if cell is not baseline]
    rows = []
    for cell in others:
        final, forgotten = interval(cell, baseline, final_terms), interval(cell, baseline, metrics.task_forgetting)
        num_seeds = len(cell.runs.keys() & baseline.runs.keys())
        rows.append([cell.label, str(num_seeds), _points(final), _points(forgotten)])
    sure = ", [95 % paired bootstrap over seeds and tasks]" if any("[" in row[2] for row in rows) else ""
    title = f"difference to {baseline.label}, points{sure}"
    return Grid(title, ["method", "seeds in both", "final", "forgetting"], rows)


def interval(cell: Cell, baseline: Cell, terms: Callable[[metrics.Matrix], Sequence[float] | None]) -> Interval | None:
    """Cell minus baseline of a metric that is the mean of `terms`, one a task, over the seeds that both have.

    None where they share no seed or a matrix has no such terms.
    """
    differences = []
    for seed in sorted(cell.runs.keys() & baseline.runs.keys()):
        mine, theirs = terms(cell.runs[seed].matrix()), terms(baseline.runs[seed].matrix())
        if not mine or not theirs:
            return None
        differences.append([a - b for a, b in zip(mine, theirs, strict=True)])
    return paired_bootstrap(differences) if differences else None


def final_terms(matrix: metrics.Matrix) -> Sequence[float]:
    """Whose mean is the final average accuracy."""
    return matrix[-1]


def _notes(runs: Sequence[Run], cells: Sequence[Cell]) -> list[str]:
    """What a reader has to know before comparing rows."""
    speed = speed_doubts(runs)
    notes = [f"{key}: {told(groups, folder_of)}" for key, groups in (speed | differing(runs, may_differ)).items()]
    if runs[0].result.get("estimated"):
        notes.append(estimates_line(runs[0].result))
    if speed:
        notes.append(
            f"images/s and training seconds are left out of the table: not alike or not known: {', '.join(speed)}"
        )
    notes += [f"{CONDITIONS[key][0]}: not the same in all rows: {CONDITIONS[key][1]}" for key in _conditions(cells)]
    unlike = {key: groups for key, groups in settings_that_differ(cells).items() if key not in CONDITIONS}
    notes += [f"{key}: {told(groups, lambda cell: cell.label)}" for key, groups in unlike.items()]
    if len({tuple(cell.runs) for cell in cells}) > 1:
        seeds = "; ".join(f"{flow(list(cell.runs))} in {cell.label}" for cell in cells)
        notes.append(f"seed: the rows are not over the same seeds: {seeds}")
    if any(len(cell.runs) < FEWEST_SEEDS for cell in cells):
        notes.append(f"with fewer than {FEWEST_SEEDS} seeds a difference may be one of seeds")
    return notes


def _rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    varied = settings_that_differ(cells)
    return [_row(cell, seed, run, list(varied)) for cell in cells for seed, run in cell.runs.items()]


def _row(cell: Cell, seed: int, run: Run, varied: Sequence[str]) -> dict[str, Any]:
    accuracies = [metric.in_result for metric in metrics.METRICS.values()]
    measured = {key: run.number(key) for key in (*accuracies, *COUNTS, *SPEEDS)}
    where = moves_speed(run) | may_differ(run)
    lists = ("class_order", "task_sizes", "num_test_images", "backbone.kwargs")
    same = {key: value for key, value in must_agree(run).items() if key not in lists}
    return {
        "run": str(run.folder),
        "method": cell.label,
        "seed": seed,
        **measured,
        **metrics.peer_summary(run.matrix(), run.result["num_test_images"]),
        **{key: flow(cell.settings[key]) if key in cell.settings else None for key in varied},
        **{key: flow(value) if isinstance(value, list) else value for key, value in where.items()},
        **same,
    }


def _values(cell: Cell, key: str) -> list[float]:
    """Of the runs that have the number."""
    found = (run.number(key) for run in cell.runs.values())
    return [value for value in found if value is not None]


def percent(values: Sequence[float]) -> str:
    """Of fractions, one a seed: their mean and deviation."""
    return _plus_minus(spread([100 * value for value in values])) if values else NOTHING


def _plus_minus(values: Spread) -> str:
    return f"{values.mean:.1f}" if values.deviation is None else f"{values.mean:.1f} ± {values.deviation:.1f}"


def _points(found: Interval | None) -> str:
    if found is None:
        return NOTHING
    if found.low is None or found.high is None:
        return f"{100 * found.difference:+.1f}"
    return f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
