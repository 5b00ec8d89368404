"""Which settings are best, and which are as good as that by what the seeds allow to be said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from hlgp_dist.study.cells import Cell
from hlgp_dist.study.comparison import NOTHING, interval
from hlgp_dist.study.likeness import grouped
from hlgp_dist.study.reporting.places import Placed, axes_of, title_of
from hlgp_dist.study.statistics import FEWEST_SEEDS, spread
from hlgp_dist.terminal import Grid
from hlgp_dist.train.metrics import Matrix

LEVEL_MARK = "≈"
"""Beside a value whose difference to the best of its column may be none."""


def best_of(cells: Sequence[Placed]) -> Placed:
    """By the mean of the final average accuracy; of equal ones the first."""
    return max(cells, key=lambda cell: fmean(cell.finals()))


def is_level(cell: Cell, best: Cell) -> bool | None:
    """Whether the 95 % interval of their difference holds 0; None with too few seeds in both."""
    found = interval(best, cell, last_row)
    if found is None or found.low is None or found.high is None:
        return None
    return found.low <= 0.0 <= found.high


def last_row(matrix: Matrix) -> Sequence[float]:
    """The terms of the final average accuracy."""
    return matrix[-1]


def answers(cells: Sequence[Placed]) -> Iterator[str]:
    """The best setting for each set of pictures, and those that are level with it."""
    for title, members in grouped((cell, title_of(cell.run)) for cell in cells):
        best = best_of(members)
        final = spread([100 * value for value in best.finals()])
        shown = f"{final.mean:.1f}" if final.deviation is None else f"{final.mean:.1f} ± {final.deviation:.1f}"
        yield f"Best on {title}: {best.name}, final average accuracy {shown} % over {len(best.finals())} seeds."
        rivals = [cell for cell in members if cell is not best and cell.table == best.table]
        level = [cell.name for cell in rivals if is_level(cell.cell, best.cell)]
        if level:
            yield f"No difference to it can be told (95 %, paired bootstrap over seeds and tasks): {', '.join(level)}."
        elif rivals and all(is_level(cell.cell, best.cell) is None for cell in rivals):
            yield f"With fewer than {FEWEST_SEEDS} seeds nothing is said of how sure that is."


def crossed(cells: Sequence[Placed]) -> tuple[Grid, frozenset[tuple[int, int]]] | None:
    """The other axes by the first one, and which places hold their column's best; None with one axis."""
    axes = axes_of(cells)
    if len(axes) < 2:
        return None
    across, *down = axes
    columns = axes[across]
    rows = list(dict.fromkeys(tuple(cell.choices[axis] for axis in down) for cell in cells))
    at = {(tuple(cell.choices[axis] for axis in down), cell.choices[across]): cell for cell in cells}
    bests = {column: best_of([cell for cell in cells if cell.choices[across] == column]) for column in columns}
    shown = [["-".join(row), *(_value(at.get((row, column)), bests[column]) for column in columns)] for row in rows]
    marks = {
        (i, j + 1)
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        if at.get((row, column)) is bests[column]
    }
    title = f"final average accuracy, % ({across} across); {LEVEL_MARK}: level with its column's best"
    return Grid(title, [", ".join(down), *columns], shown), frozenset(marks)


def _value(cell: Placed | None, best: Placed) -> str:
    if cell is None:
        return NOTHING
    found = spread([100 * value for value in cell.finals()])
    deviation = "" if found.deviation is None else f" ± {found.deviation:.1f}"
    is_tied = cell is not best and cell.table == best.table and is_level(cell.cell, best.cell)
    return f"{f'{LEVEL_MARK} ' if is_tied else ''}{found.mean:.1f}{deviation}"
