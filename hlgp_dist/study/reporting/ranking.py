"""Which settings are best, and which are as good as that by what the seeds allow to be said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from statistics import fmean

from hlgp_dist.errors import counted
from hlgp_dist.study.comparison import NOTHING, final_terms, interval, percent
from hlgp_dist.study.reporting.places import Placed, axes_of, by_pictures, parts_tables, title_of
from hlgp_dist.study.statistics import FEWEST_SEEDS
from hlgp_dist.terminal import Grid

LEVEL_MARK, UNKNOWN_MARK = "≈", "?"
"""Beside a value whose difference to the best of its column may be none; or of which seeds are too few to tell."""


def best_of(cells: Sequence[Placed]) -> Placed:
    """By the mean of the final average accuracy; of equal ones the first."""
    return max(cells, key=lambda cell: fmean(cell.finals()))


@cache
def is_level(cell: Placed, best: Placed) -> bool | None:
    """Whether the 95 % interval of their difference, by itself, holds 0; None with too few seeds in both."""
    found = interval(best.cell, cell.cell, final_terms)
    if found is None or found.low is None or found.high is None:
        return None
    return found.low <= 0.0 <= found.high


def answers(cells: Sequence[Placed]) -> Iterator[str]:
    """The best setting for each set of pictures, and those that are level with it."""
    for members in by_pictures(cells):
        best = best_of(members)
        final = f"final average accuracy {percent(best.finals())} % over {counted(len(best.finals()), 'seed')}"
        yield f"Best on {title_of(best.run)}: {best.name}, {final}."
        rivals = [cell for cell in members if cell is not best and cell.table == best.table]
        level = [cell.name for cell in rivals if is_level(cell, best)]
        if level:
            told = "95 %, paired bootstrap over seeds and tasks, each by itself"
            yield f"On its backbone no difference to it can be told ({told}): {', '.join(level)}."
        elif rivals and all(is_level(cell, best) is None for cell in rivals):
            yield f"With fewer than {FEWEST_SEEDS} seeds nothing is said of how sure that is."


def crossed(cells: Sequence[Placed]) -> tuple[Grid, frozenset[tuple[int, int]]] | None:
    """An axis of tables, or else the first, across, the others down, and which places hold their column's best.

    None with one axis.
    """
    cells = [cell for cell in cells if cell.choices]
    axes = axes_of(cells)
    if len(axes) < 2:
        return None
    across = next((axis for axis in axes if parts_tables(axis, cells)), next(iter(axes)))
    down = [axis for axis in axes if axis != across]
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
    meaning = f"{LEVEL_MARK}: level with its column's best; {UNKNOWN_MARK}: too few seeds to tell"
    title = f"final average accuracy, % ({across} across); {meaning}"
    return Grid(title, [", ".join(down), *columns], shown), frozenset(marks)


def _value(cell: Placed | None, best: Placed) -> str:
    if cell is None:
        return NOTHING
    if cell is best or cell.table != best.table:
        return percent(cell.finals())
    mark = {True: f"{LEVEL_MARK} ", False: "", None: f"{UNKNOWN_MARK} "}[is_level(cell, best)]
    return f"{mark}{percent(cell.finals())}"
