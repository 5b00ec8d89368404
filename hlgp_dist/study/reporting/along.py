"""One axis of a study: what its choices do, and how the error falls with what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hlgp_dist.study.collect import Run
from hlgp_dist.study.reporting.places import METHOD, Line, Placed, axes_of, by_pictures, lines_along
from hlgp_dist.study.reporting.style import Look, legend_below, logarithmic, panels
from hlgp_dist.study.scaling import PowerLaw, power_law
from hlgp_dist.study.statistics import spread


@dataclass(frozen=True)
class Quantity:
    """What an error may fall with, of one run. is_timed: another run of the same takes another time."""

    label: str
    of_run: Callable[[Run], float | None]
    is_timed: bool = False

    def of(self, cell: Placed) -> float | None:
        """The mean over seeds."""
        known = [value for value, _ in self.points(cell)]
        return mean(known) if known else None

    def points(self, cell: Placed) -> list[tuple[float, float]]:
        """With the error of each run that knows it."""
        known = [(self.of_run(run), run.result["final_average_accuracy"]) for run in cell.cell.runs.values()]
        return [(value, 1.0 - final) for value, final in known if value is not None]


@dataclass(frozen=True)
class Fit:
    """Of one line, over one quantity, both by point and seed; `law` is None where there are too few points."""

    quantity: Quantity
    line: Line
    quantities: Sequence[Sequence[float]]
    errors: Sequence[Sequence[float]]
    law: PowerLaw | None


def planned_flops(run: Run) -> float | None:
    """Of all its passes, as `hlgp plan` counts them."""
    return None if run.planned is None else float(run.planned["flops"])


def device_hours(run: Run) -> float | None:
    """Of training, all ranks; tests and start-up apart."""
    seconds, workers = run.number("training_seconds"), run.number("num_workers")
    return seconds * workers / 3600 if seconds and workers else None


HOURS = Quantity("device-hours of training", device_hours, is_timed=True)
QUANTITIES = (
    Quantity("parameters of the backbone", lambda run: run.number("backbone.num_parameters")),
    Quantity("trained parameters a task", lambda run: run.number("num_trainable_parameters")),
    Quantity("FLOP of a run, as planned", planned_flops),
    HOURS,
)


def varying(quantities: Sequence[Quantity], cells: Sequence[Placed]) -> list[Quantity]:
    """Those that the cells do not all have in one amount."""
    return [quantity for quantity in quantities if len({quantity.of(cell) for cell in cells} - {None}) > 1]


def fits_along(axis: str, cells: Sequence[Placed]) -> list[Fit]:
    """Of each quantity that varies along the axis, and each line of at least two points that has it.

    None where the axis is no more or less of one thing, and none of a line without any error.
    """
    if is_of_kinds(axis, cells):
        return []
    found = [
        _fit(quantity, line)
        for quantity in QUANTITIES
        for line in lines_along(axis, cells)
        if len({quantity.of(cell) for cell in line.members} - {None, 0.0}) > 1
    ]
    return [fit for fit in found if min(map(mean, fit.errors)) > 0]


def is_of_kinds(axis: str, cells: Sequence[Placed]) -> bool:
    """Whether it varies the kind of the method, or the pictures and tasks, of which one error is not another's more."""
    if axis == METHOD:
        return True
    lines = [line.members for line in lines_along(axis, cells)]
    return any(len({cell.run.config.method.kind for cell in line}) > 1 or len(by_pictures(line)) > 1 for line in lines)


def effect(axis: str, cells: Sequence[Placed], looks: Mapping[str, Look]) -> Figure:
    """Final accuracy and forgetting by the choice on the axis, means and deviations over seeds."""
    order = axes_of(cells)[axis]
    figure, every = panels(2)
    for axes, key, label in zip(
        every, ("final_average_accuracy", "forgetting"), ("final average accuracy, %", "forgetting, %"), strict=True
    ):
        for line in lines_along(axis, cells):
            look = looks[line.series].line() | ({"linestyle": "none"} if is_of_kinds(axis, cells) else {})
            _choices(axes, line, axis, order, key, look)
        axes.set(xlabel=axis, ylabel=label, xlim=(-0.35, len(order) - 0.65))
        axes.set_xticks(range(len(order)), order)
    legend_below(figure, every)
    return figure


def error_plots(fits: Sequence[Fit], looks: Mapping[str, Look]) -> Figure:
    """A panel a quantity: the error on logarithmic axes, mean and deviation over seeds, and each line's power law."""
    quantities = list(dict.fromkeys(fit.quantity for fit in fits))
    figure, every = panels(len(quantities))
    for axes, quantity in zip(every, quantities, strict=True):
        for fit in fits:
            if fit.quantity is quantity:
                _error(axes, fit, looks[fit.line.series])
        axes.set(xlabel=quantity.label, ylabel="error, % (100 - final accuracy)")
        logarithmic(axes.xaxis, prefixes=True)
        logarithmic(axes.yaxis, prefixes=False)
    legend_below(figure, every)
    return figure


def _fit(quantity: Quantity, line: Line) -> Fit:
    points = [quantity.points(cell) for cell in line.members if quantity.of(cell)]
    quantities = [[value for value, _ in point] for point in points]
    errors = [[error for _, error in point] for point in points]
    return Fit(quantity, line, quantities, errors, power_law(quantities, errors))


def _choices(axes: Axes, line: Line, axis: str, order: Sequence[str], key: str, look: Mapping[str, Any]) -> None:
    at, means, deviations = [], [], []
    for cell in line.members:
        values = [100 * value for run in cell.cell.runs.values() if (value := run.number(key)) is not None]
        if values:
            found = spread(values)
            at.append(order.index(cell.choices[axis]))
            means.append(found.mean)
            deviations.append(found.deviation or 0.0)
    axes.errorbar(at, means, yerr=deviations, capsize=2.5, label=line.series, **look)


def _error(axes: Axes, fit: Fit, look: Look) -> None:
    at, means = [mean(values) for values in fit.quantities], [100 * mean(values) for values in fit.errors]
    yerr = [100 * (spread(values).deviation or 0.0) for values in fit.errors]
    xerr = [spread(values).deviation or 0.0 for values in fit.quantities] if fit.quantity.is_timed else None
    style = look.line() | {"linestyle": "none" if fit.law else look.dash}
    axes.errorbar(at, means, yerr=yerr, xerr=xerr, capsize=2.5, label=fit.line.series, **style)
    if fit.law is not None:
        span = np.geomspace(min(at), max(at), 50)
        axes.plot(span, 100 * fit.law.at(span), color=look.color, linestyle=look.dash, linewidth=1.1)
