"""A search that came to an end: its trials, those that compare, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.merge import value_at
from hlgp_dist.config.search_options import Domain, Search
from hlgp_dist.study.sound import is_number
from hlgp_dist.terminal import Grid
from hlgp_dist.train.folder import RunFolder

Trial = Mapping[str, Any]

COLUMNS = ("trial", "configuration", "status", "tasks_finished", "objective", "is_estimate", "seconds", "reason")
"""Of a search's rows, beside the searched keys."""


@dataclass(frozen=True)
class FoundSearch:
    """space: what was searched; trials: rows of its trials.csv; best: the winner's name; hours: trials' by devices."""

    folder: RunFolder
    space: Mapping[str, Domain]
    trials: Sequence[Trial]
    best: str | None
    hours: float | None

    @property
    def keys(self) -> list[str]:
        return list(self.space)

    def done(self) -> list[tuple[int, Trial, float]]:
        """Configurations that came to their last task, whose objectives compare: the place of the last of its trials,
        that trial, and the mean over its replicates.
        """
        found: dict[Any, list[int]] = {}
        for place, trial in enumerate(self.trials):
            found.setdefault(trial.get("configuration", place), []).append(place)
        whole = [places for places in found.values() if all(is_done(self.trials[place]) for place in places)]
        return [
            (places[-1], self.trials[places[-1]], fmean(self.trials[place]["objective"] for place in places))
            for places in whole
        ]


def is_done(trial: Trial) -> bool:
    """Whether its objective is over all tasks of the search."""
    return trial["status"] == "done" and trial["objective"] is not None


def search_in(folder: RunFolder, search: Search) -> Iterator[FoundSearch]:
    """The one whose folder it is, if its result.json has trials of that space."""
    result = folder.read_result() or {}
    trials = result.get("trials")
    if trials and all(trial.keys() >= search.space.keys() for trial in trials):
        hours = value_at(result, ("spent", "gpu_hours"))
        yield FoundSearch(folder, search.space, trials, result.get("best_trial"), hours if is_number(hours) else None)


def search_grid(trials: Sequence[Trial], title: str) -> Grid:
    """One row a trial: those that came to their last task first, best first; a tilde before estimates, for which
    earlier tasks were tested in part.
    """
    keys = [key for key in (trials[0] if trials else {}) if key not in COLUMNS]
    rows = [
        [
            str(trial["trial"]),
            *(shown(trial[key]) for key in keys),
            str(trial["status"]),
            str(trial["tasks_finished"]),
            "-" if trial["objective"] is None else f"{'~' * trial.get('is_estimate', 0)}{100 * trial['objective']:.1f}",
            str(trial["reason"] or ""),
        ]
        for trial in sorted(trials, key=lambda trial: (not is_done(trial), -(trial["objective"] or -1.0)))
    ]
    return Grid(title, ["trial", *short_names(keys), "status", "tasks", "val accuracy, %", "reason"], rows)


def short_names(keys: Sequence[str]) -> list[str]:
    """Dotted keys by their last part, of a `kind` the one before, where that is unique."""
    last = [key.removesuffix(".kind").rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def shown(value: Any) -> str:
    """Of a searched key."""
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else flow(value)
