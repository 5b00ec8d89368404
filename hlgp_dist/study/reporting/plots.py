"""The figures of finished runs: over tasks, as matrices, what was kept against what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hlgp_dist.study.reporting.places import Placed, in_panels, panel_title
from hlgp_dist.study.reporting.style import BAND, COLORS, INK, Look, legend_below, outer_labels, panels, whole_numbers
from hlgp_dist.study.statistics import spread
from hlgp_dist.train import metrics

Square = NDArray[np.float64]

MAPS = 24
"""Matrices at most: nobody looks at hundreds, which take minutes to draw."""
NUMBERED = 12
"""Tasks up to which a matrix has room for its numbers."""


def over_tasks(cells: Sequence[Placed], looks: Mapping[str, Look]) -> Figure | None:
    """Average accuracy over the tasks seen, after each task; a panel a table, a band of a deviation over seeds."""
    shown = [cell for cell in cells if has_several_rows(cell)]
    if not shown:
        return None
    tables = in_panels(shown)
    figure, every = panels(len(tables), share=len({len(cell.run.matrix()) for cell in shown}) == 1)
    for axes, table in zip(every, tables, strict=True):
        for cell in table:
            name = cell.series
            curves = 100 * np.array([[np.mean(row) for row in run.matrix()] for run in cell.cell.runs.values()])
            mean, tasks = curves.mean(0), range(1, curves.shape[1] + 1)
            axes.plot(tasks, mean, label=name, **looks[name].line())
            if len(curves) > 1:
                deviation = curves.std(0, ddof=1)
                axes.fill_between(tasks, mean - deviation, mean + deviation, color=looks[name].color, alpha=BAND, lw=0)
        axes.set(xlabel="tasks learned", ylabel="average accuracy, %", title=panel_title(table, cells))
        whole_numbers(axes.xaxis)
    outer_labels(every)
    legend_below(figure, every)
    return figure


def mapped(cells: Sequence[Placed]) -> list[Placed]:
    """Those whose matrices are shown, in their order: of many the most accurate."""
    best = sorted(cells, key=lambda cell: fmean(cell.finals()), reverse=True)[:MAPS]
    return [cell for cell in cells if cell in best]


def matrices(cells: Sequence[Placed]) -> Figure | None:
    """Accuracy on each task after each task, a panel a cell, means over seeds."""
    shown = {
        cell: [square(run.matrix()) for run in cell.cell.runs.values()] for cell in cells if has_several_rows(cell)
    }
    return _heat_maps(shown, ("tested on task", "after task"), "accuracy, %")


def confusions(cells: Sequence[Placed]) -> Figure | None:
    """The weight that each task's prompts got in the last test, by the pictures' true task; means over seeds."""
    found = {cell: [run.result.get("task_confusion") for run in cell.cell.runs.values()] for cell in cells}
    shown = {cell: [np.array(own) for own in every] for cell, every in found.items() if all(every)}
    return _heat_maps(shown, ("prompts of task", "true task"), "mean weight, %")


def has_several_rows(cell: Placed) -> bool:
    """Whether there is more than one row: tasks learned at once have one."""
    return len(cell.run.matrix()) > 1


def _heat_maps(values: Mapping[Placed, Sequence[Square]], labels: tuple[str, str], unit: str) -> Figure | None:
    """Of fractions, by one scale."""
    if not values:
        return None
    columns = max(len(list(members)) for _, members in groupby(values, key=lambda cell: cell.table))
    figure, every = panels(len(values), columns=min(columns, 5), inches=(2.3, 2.3))
    for axes, (cell, found) in zip(every, values.items(), strict=True):
        percent = 100 * np.mean(found, axis=0)
        image = axes.imshow(percent, cmap="cividis", vmin=0, vmax=100)
        axes.grid(visible=False)
        axes.set(title=cell.name, xlabel=labels[0], ylabel=labels[1])
        whole_numbers(axes.xaxis, axes.yaxis)
        if len(percent) <= NUMBERED:
            _numbers(axes, percent)
    figure.colorbar(image, ax=every, label=unit, shrink=0.8)
    return figure


def square(matrix: metrics.Matrix) -> Square:
    """[T, T], not a number above the diagonal."""
    return np.array([[*row, *[np.nan] * (len(matrix[-1]) - len(row))] for row in matrix])


def stability(cells: Sequence[Placed], looks: Mapping[str, Look]) -> Figure | None:
    """Forgetting against plasticity, a point a run: to the right learns more, lower forgets less."""
    shown = [cell for cell in cells if cell.run.result["forgetting"] is not None and has_several_rows(cell)]
    if not shown:
        return None
    tables = in_panels(shown)
    figure, every = panels(len(tables), share=True)
    for axes, table in zip(every, tables, strict=True):
        for cell in table:
            name = cell.series
            learned = [100 * run.result["plasticity"] for run in cell.cell.runs.values()]
            lost = [100 * run.result["forgetting"] for run in cell.cell.runs.values()]
            look = looks[name]
            axes.plot(learned, lost, label=name, color=look.color, marker=look.marker, linestyle="none", alpha=0.85)
        axes.set(xlabel="plasticity, %", ylabel="forgetting, %", title=panel_title(table, cells))
    outer_labels(every)
    legend_below(figure, every)
    return figure


def bars(values: Mapping[str, Sequence[float]], label: str) -> Figure:
    """A bar for each name, with a standard deviation over seeds."""
    figure, (axes,) = panels(1)
    figure.set_size_inches(6.5, 0.9 + 0.28 * len(values))
    names = list(values)[::-1]
    found = [spread(list(values[name])) for name in names]
    axes.barh(
        names,
        [each.mean for each in found],
        xerr=[each.deviation or 0.0 for each in found],
        ecolor=INK,
        color=COLORS[5],
    )
    axes.set(xlabel=label)
    axes.grid(visible=False, axis="y")
    axes.margins(y=0.01)
    return figure


def _numbers(axes: Axes, values: Square) -> None:
    size = 8.5 if len(values) <= 6 else 6.0
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "white" if value < 50 else "black"  # on a colour of its own, whatever the page
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=size, color=color)
