"""Figures of a search: how the best grew, which keys mattered, what was tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hlgp_dist.config.search_options import Domain, LogUniform
from hlgp_dist.study.reporting.style import COLORS, INK, panels, whole_numbers
from hlgp_dist.study.searches import FoundSearch, is_done, short_names, shown
from hlgp_dist.tuning.importance import importances

STATUS_LOOKS = {
    "done": ("o", COLORS[0]),
    "stopped": ("v", COLORS[1]),
    "cut": ("s", COLORS[4]),
    "failed": ("X", COLORS[3]),
}


def history(search: FoundSearch) -> Figure:
    """Objectives in the order of the trials and the best so far; the values side by side; which keys mattered."""
    done = search.done()
    parts = importances(search.space, [trial for _, trial, _ in done], [objective for _, _, objective in done])
    figure, every = panels(2 + bool(parts))
    _objectives(every[0], search)
    _parallel(every[1], search)
    if parts:
        names = dict(zip(search.keys, short_names(search.keys), strict=True))
        every[2].barh([names[key] for key in parts][::-1], list(parts.values())[::-1], color=COLORS[5])
        every[2].set(xlabel="importance (PED-ANOVA)", xlim=(0, 1))
    return figure


def _objectives(axes: Axes, search: FoundSearch) -> None:
    for status, (marker, color) in STATUS_LOOKS.items():
        known = [
            (place, 100 * trial["objective"])
            for place, trial in enumerate(search.trials)
            if trial["status"] == status and trial["objective"] is not None
        ]
        if known:
            axes.plot(*zip(*known, strict=True), marker=marker, color=color, linestyle="none", label=status)
    done = search.done()
    if done:
        places, reached = [place for place, _, _ in done], [100 * objective for _, _, objective in done]
        axes.step(places, np.maximum.accumulate(reached), where="post", color=INK, linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel="average accuracy on validation pictures, %")
    whole_numbers(axes.xaxis)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _parallel(axes: Axes, search: FoundSearch) -> None:
    """A vertical a key and one for the objective, each from its least to its greatest; the better, the darker; what did
    not come to its last task is dotted.
    """
    trials = [trial for trial in search.trials if trial["objective"] is not None]
    scales = [_scale(search.space[key], [trial[key] for trial in trials]) for key in search.keys]
    objective = _Scale.of([trial["objective"] for trial in trials], "{:.1%}".format)
    for place in np.argsort(objective.places, kind="stable"):
        shade = objective.places[place] ** 2
        line = [scale.places[place] for scale in (*scales, objective)]
        dash = "-" if is_done(trials[place]) else ":"
        axes.plot(line, color=COLORS[0], alpha=0.15 + 0.85 * shade, linewidth=0.8 + 1.4 * shade, linestyle=dash)
    axes.set_xticks(range(len(scales) + 1), [*short_names(search.keys), "accuracy"])
    axes.set(ylim=(-0.12, 1.12))
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    for at, scale in enumerate((*scales, objective)):
        axes.text(at, -0.06, scale.least, ha="center", va="top", fontsize=7)
        axes.text(at, 1.06, scale.greatest, ha="center", va="bottom", fontsize=7)


class _Scale(NamedTuple):
    """Where values lie between their least, 0, and their greatest, 1."""

    places: Sequence[float]
    least: str
    greatest: str

    @classmethod
    def of(cls, values: Sequence[float], shown: Callable[[float], str]) -> _Scale:
        low, high = min(values, default=0.0), max(values, default=0.0)
        places = [(value - low) / (high - low) if high > low else 0.5 for value in values]
        return cls(places, shown(low), shown(high))


def _scale(domain: Domain, values: Sequence[Any]) -> _Scale:
    """By logarithms where they were drawn so or span a decade; what is no number by its text."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        order = sorted({shown(value) for value in values})
        return _Scale.of([float(order.index(shown(value))) for value in values], lambda at: order[int(at)])
    if values and min(values) > 0 and (isinstance(domain, LogUniform) or max(values) >= 10 * min(values)):
        return _Scale.of([math.log(value) for value in values], lambda exponent: shown(math.exp(exponent)))
    return _Scale.of([float(value) for value in values], shown)
