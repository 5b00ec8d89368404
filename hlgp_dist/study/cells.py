"""Runs into cells: one method with one setting, over seeds. A cell is a row of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.identity import identity
from hlgp_dist.config.rules import ignored
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import differing, grouped
from hlgp_dist.study.searches import short_names

METHOD_KEY = "method.kind"
CONDITIONS = {
    "alignment.kind": ("alignment", "it moves accuracy as much as a method does; compare methods within one"),
    "train.stream": ("stream", "a joint run sees all classes at once: an upper bound, no rival"),
}
"""What any method can be run with: the title of its column, and what a note says where rows are not alike in it."""
SETTLED = ("backbone.", "benchmark.", "data.path")
"""Keys that `likeness` compares by what they led to: a file may lie at two paths."""


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but the seed, by it; `settings` are their other identity values."""

    label: str
    runs: Mapping[int, Run]
    settings: Mapping[str, Any]

    @property
    def first(self) -> Run:
        """Of its first seed."""
        return next(iter(self.runs.values()))


def cells_of(runs: Sequence[Run]) -> list[Cell]:
    """In the order of the runs, each with a label that no other has: a study's name for it, or what makes it differ.

    Raises:
        ConfigError: two runs are of one cell and one seed.
    """
    groups = [(settings_of(members[0]), members) for _, members in grouped((run, _cell_of(run)) for run in runs)]
    derived = labels_of([settings for settings, _ in groups])
    labels = [_named(members) or label for label, (_, members) in zip(derived, groups, strict=True)]
    labels = labels if len(set(labels)) == len(labels) else derived
    return [
        Cell(label, by_seed(label, members), settings)
        for label, (settings, members) in zip(labels, groups, strict=True)
    ]


def _named(runs: Sequence[Run]) -> str | None:
    """The name that a study gives all of them."""
    names = {run.cell for run in runs}
    return names.pop() if len(names) == 1 else None


def _cell_of(run: Run) -> dict[str, Any]:
    """What makes a run one of a cell's; two cells of a study stay two, even if they come to the same settings."""
    return {"cell": run.cell} | settings_of(run)


def settings_of(run: Run) -> dict[str, Any]:
    """The identity values by dotted key that make a cell."""
    values = identity(run.config)
    return {key: value for key, value in values.items() if key != "seed" and not key.startswith(SETTLED)}


def labels_of(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The method's kind and `key=value` of what varies: kinds among all cells, the rest among those of like kinds."""
    shown = [_varying(settings, cells) for settings in cells]
    every = list(dict.fromkeys(key for keys in shown for key in keys))
    names = dict(zip(every, short_names(every), strict=True))
    return [
        " ".join([settings[METHOD_KEY], *(f"{names[key]}={flow(settings[key])}" for key in keys)])
        for settings, keys in zip(cells, shown, strict=True)
    ]


def _varying(settings: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    def varies(key: str) -> bool:
        """Of an option that only some kinds have, other kinds lack nothing."""
        alike = [METHOD_KEY] if key.startswith("method.") else [METHOD_KEY, *CONDITIONS]
        alike = [] if key in CONDITIONS else alike
        peers = (cell for cell in cells if all(cell[name] == settings[name] for name in alike))
        return any(cell.get(key) != settings[key] for cell in peers)

    return [key for key in settings if key != METHOD_KEY and varies(key)]


def by_seed(label: str, runs: Sequence[Run]) -> dict[int, Run]:
    """Raises:
    ConfigError: two runs are of one seed.
    """
    by_seed: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: run.config.seed):
        seed = run.config.seed
        if seed in by_seed:
            twice = f"{by_seed[seed].folder} and {run.folder}"
            raise ConfigError(f"seed: {twice} are both {label} with seed {seed}; one run may count once, leave one out")
        by_seed[seed] = run
    return by_seed


def settings_that_differ(cells: Sequence[Cell]) -> dict[str, list[tuple[Any, list[Cell]]]]:
    """Values outside the methods' own options, so that a table of tuned methods says what each was given."""
    unlike = differing(cells, _with_a_say)
    return {key: groups for key, groups in unlike.items() if not key.startswith("method.")}


def _with_a_say(cell: Cell) -> dict[str, Any]:
    """The cell's settings without those that its method has no use for, such as the epochs of a closed form."""
    config = cell.first.config
    return {key: value for key, value in cell.settings.items() if ignored(config, key) is None}
