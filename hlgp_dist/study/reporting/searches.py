"""The searches below some folders: how the best grew, which keys mattered, what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import LogUniform
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.reporting.style import COLORS, INK, panels, whole_numbers
from hlgp_dist.study.tables import short_names
from hlgp_dist.terminal import Grid
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.importance import importances

STATUS_LOOKS = {"done": ("o", COLORS[0]), "stopped": ("v", COLORS[1]), "failed": ("X", COLORS[3])}


@dataclass(frozen=True)
class FoundSearch:
    """A search that came to an end; `trials`: the rows of its trials.csv."""

    folder: RunFolder
    config: RunConfig
    trials: Sequence[Mapping[str, Any]]

    @property
    def keys(self) -> list[str]:
        """What was searched."""
        assert self.config.search is not None
        return list(self.config.search.space)

    def done(self) -> list[Mapping[str, Any]]:
        """Those that came to their last task, whose objectives compare."""
        return [trial for trial in self.trials if trial["status"] == "done" and trial["objective"] is not None]


def find_searches(folders: Sequence[RunFolder]) -> list[FoundSearch]:
    """Those at or below the folders whose result.json has trials."""
    paths = {path.parent.resolve(): folder for folder in folders for path in sorted(folder.path.rglob("result.json"))}
    found = (_read(folder.below(*path.relative_to(folder.path.resolve()).parts)) for path, folder in paths.items())
    return [search for search in found if search is not None]


def _read(folder: RunFolder) -> FoundSearch | None:
    trials = (folder.read_result() or {}).get("trials")
    if not trials or not folder.config.is_file():
        return None
    try:
        config = resolve(folder.config).config
    except ConfigError:
        return None
    return None if config.search is None else FoundSearch(folder, config, trials)


def search_grid(search: FoundSearch) -> Grid:
    """One row a trial, best first."""
    names = short_names(search.keys)
    rows = [
        [
            str(trial["trial"]),
            *(_shown(trial[key]) for key in search.keys),
            str(trial["status"]),
            str(trial["tasks_finished"]),
            "-" if trial["objective"] is None else f"{100 * trial['objective']:.1f}",
            str(trial["reason"] or ""),
        ]
        for trial in sorted(search.trials, key=lambda trial: -(trial["objective"] or -1.0))
    ]
    return Grid("trials, best first", ["trial", *names, "status", "tasks", "val accuracy, %", "reason"], rows)


def history(search: FoundSearch) -> Figure:
    """Objectives in the order of the trials and the best so far; which keys mattered; the values side by side."""
    assert search.config.search is not None
    done = search.done()
    parts = importances(search.config.search.space, done, [trial["objective"] for trial in done])
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
        at = [place for place, trial in enumerate(search.trials) if trial["status"] == status]
        known = [place for place in at if search.trials[place]["objective"] is not None]
        values = [100 * search.trials[place]["objective"] for place in known]
        if known:
            axes.plot(known, values, marker=marker, color=color, linestyle="none", label=status)
    done = [(place, 100 * trial["objective"]) for place, trial in enumerate(search.trials) if trial in search.done()]
    if done:
        places, reached = zip(*done, strict=True)
        axes.step(places, np.maximum.accumulate(reached), where="post", color=INK, linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel="average accuracy on validation pictures, %")
    whole_numbers(axes.xaxis)
    axes.legend()


def _parallel(axes: Axes, search: FoundSearch) -> None:
    """A vertical a key and one for the objective, each from its least to its greatest; the better, the darker."""
    trials = [trial for trial in search.trials if trial["objective"] is not None]
    columns = [_scaled(search, key, trials) for key in search.keys]
    objective = _to_unit([trial["objective"] for trial in trials])
    lines = np.array([*columns, objective]).reshape(len(columns) + 1, len(trials))
    for place in np.argsort(objective, kind="stable"):
        shade = objective[place]
        axes.plot(lines[:, place], color=COLORS[0], alpha=0.15 + 0.85 * shade**2, linewidth=0.8 + 1.4 * shade**2)
    axes.set_xticks(range(len(lines)), [*short_names(search.keys), "accuracy"])
    axes.set(ylim=(-0.12, 1.12))
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    ends = [(_least(search, key, trials), _greatest(search, key, trials)) for key in search.keys]
    values = [100 * trial["objective"] for trial in trials] or [0.0]
    for place, (low, high) in enumerate([*ends, (f"{min(values):.1f}", f"{max(values):.1f}")]):
        axes.text(place, -0.06, low, ha="center", va="top", fontsize=7)
        axes.text(place, 1.06, high, ha="center", va="bottom", fontsize=7)


def _numbers(search: FoundSearch, key: str, trials: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """The values as numbers, by their logarithm where they were drawn so; None where they are none."""
    assert search.config.search is not None
    values = [trial[key] for trial in trials]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    is_log = isinstance(search.config.search.space[key], LogUniform)
    return list(np.log(values)) if is_log or max(values) >= 10 * min(values) > 0 else [float(value) for value in values]


def _scaled(search: FoundSearch, key: str, trials: Sequence[Mapping[str, Any]]) -> list[float]:
    numbers = _numbers(search, key, trials)
    if numbers is not None:
        return _to_unit(numbers)
    order = sorted({_shown(trial[key]) for trial in trials})
    return _to_unit([float(order.index(_shown(trial[key]))) for trial in trials])


def _least(search: FoundSearch, key: str, trials: Sequence[Mapping[str, Any]]) -> str:
    return _end(search, key, trials, first=True)


def _greatest(search: FoundSearch, key: str, trials: Sequence[Mapping[str, Any]]) -> str:
    return _end(search, key, trials, first=False)


def _end(search: FoundSearch, key: str, trials: Sequence[Mapping[str, Any]], *, first: bool) -> str:
    is_number = _numbers(search, key, trials) is not None
    order = sorted({trial[key] for trial in trials}) if is_number else sorted({_shown(trial[key]) for trial in trials})
    return "" if not order else _shown(order[0 if first else -1])


def _to_unit(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else flow(value)
