"""Which settings are best, and which are as good as that by what the seeds allow to be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        rivals = [cell for cell in members if cell is not best]
        known = {cell.name: is_level(cell, best) for cell in rivals}
        level = [name for name, is_so in known.items() if is_so]
        if level:
            told = "95 %, paired bootstrap over seeds and tasks, each by itself"
            yield f"No difference to it can be told ({told}): {', '.join(level)}."
        elif rivals and set(known.values()) == {None}:
            yield f"With fewer than {FEWEST_SEEDS} seeds nothing is said of how sure that is."


def crossed(cells: Sequence[Placed]) -> tuple[Grid, frozenset[tuple[int, int]]] | None:
    """An axis of tables, or else the first, across, the others down, and which places hold the best of their column
    and pictures.

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
    best = dict[Placed, Placed]()
    for members in by_pictures(cells):
        for column in columns:
            rivals = [cell for cell in members if cell.choices[across] == column]
            best |= dict.fromkeys(rivals, best_of(rivals)) if rivals else {}
    grid = [[at.get((row, column)) for column in columns] for row in rows]
    shown = [["-".join(row), *(_value(cell, best) for cell in own)] for row, own in zip(rows, grid, strict=True)]
    marks = {(i, j) for i, own in enumerate(grid) for j, cell in enumerate(own, 1) if cell and best[cell] is cell}
    meaning = f"{LEVEL_MARK}: level with its column's best; {UNKNOWN_MARK}: too few seeds to tell"
    title = f"final average accuracy, % ({across} across); {meaning}"
    return Grid(title, [", ".join(down), *columns], shown), frozenset(marks)


def _value(cell: Placed | None, best: Mapping[Placed, Placed]) -> str:
    if cell is None:
        return NOTHING
    if best[cell] is cell or cell.table != best[cell].table:
        return percent(cell.finals())
    mark = {True: f"{LEVEL_MARK} ", False: "", None: f"{UNKNOWN_MARK} "}[is_level(cell, best[cell])]
    return f"{mark}{percent(cell.finals())}"
