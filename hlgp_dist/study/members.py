"""A study's folder: its cells, where each stands on the axes, what was planned of it, what has not begun."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.cells import study_cells
from hlgp_dist.config.grammar import GrammarError, read_document
from hlgp_dist.config.load import cells, resolve
from hlgp_dist.config.merge import value_at
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.sound import is_number
from hlgp_dist.train.folder import RunFolder

STUDY_FILE, PLAN_FILE, SEARCH = "study.yaml", "plan.json", "search"
"""In a study's folder its configuration and what it planned of each cell; in a cell's, its search."""

MOST_NAMES = 6


@dataclass(frozen=True)
class Member:
    """Of a study: a cell's name, its choice on each axis, and what was planned of its runs: by the searched values that
    move a plan, those and the run as `hlgp plan --json` says it.
    """

    study: str
    cell: str
    choices: Mapping[str, str]
    plans: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = ()


def seed_folder(seed: int) -> str:
    """Of a cell's run."""
    return f"seed-{seed}"


def members_of(folder: RunFolder) -> dict[str, Member]:
    """By the cell's name, in the study's own order; empty for a folder that is no study's."""
    plan, found = read_object(folder.path / PLAN_FILE), study_cells(_study(folder))
    return {name: Member(str(folder), name, choices, _plans(plan, name)) for name, choices in found.items()}


def not_begun(folder: RunFolder) -> Iterator[str]:
    """A line of the cells and seeds that have no folder yet, if any; a first seed's run may be in its cell's search."""
    missing = []
    for name, seeds in _seeds(folder).items():
        for place, seed in enumerate(seeds):
            names = [seed_folder(seed), *[SEARCH] * (place == 0)]
            if not any((folder.path / name / own).is_dir() for own in names):
                missing.append(f"{name}/{names[0]}")
    if missing:
        more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
        yield f"not begun: {', '.join(missing[:MOST_NAMES])}{more}"


def damages(folder: RunFolder) -> Iterator[str]:
    """Of what a study keeps beside its runs, which stand without it."""
    study, plan = folder.path / STUDY_FILE, folder.path / PLAN_FILE
    if study.is_file() and not _study(folder):
        yield f"{STUDY_FILE} has no study that could be read: cells stand without names and axes"
    if plan.is_file() and not isinstance(read_object(plan).get("cells"), dict):
        yield f"{PLAN_FILE} cannot be read: nothing planned stands beside what was"


def idle(folder: RunFolder) -> dict[str, str]:
    """By cell that has both, which of its search and its first seed's run the study does not ask for (any more)."""
    both = {
        name: seed_folder(seeds[0])
        for name, seeds in _seeds(folder).items()
        if seeds and all((folder.path / name / own).is_dir() for own in (SEARCH, seed_folder(seeds[0])))
    }
    if not both:
        return {}
    try:
        every = cells(resolve(folder.path / STUDY_FILE).config)
    except ConfigError:  # of a plug-in that is not installed here, say
        return {}
    return {name: SEARCH if every[name].search is None else first for name, first in both.items()}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's; empty where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _study(folder: RunFolder) -> dict[str, Any]:
    """The section of a study's folder; empty for other folders, and where it cannot be read."""
    try:
        document = read_document((folder.path / STUDY_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, GrammarError):
        return {}
    study = document.values.get("study")
    return study if isinstance(study, dict) else {}


def _seeds(folder: RunFolder) -> dict[str, list[int]]:
    study = _study(folder)
    seeds = study.get("seeds")
    return {name: seeds if isinstance(seeds, list) else [] for name in study_cells(study)}


def _plans(plan: Mapping[str, Any], cell: str) -> tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]:
    """Empty where an older study, or nobody, planned it."""
    found = value_at(plan, ("cells", cell, "runs"))
    plans = found if isinstance(found, list) else []
    return tuple((each["values"], each["run"]) for each in plans if _is_plan(each))


def _is_plan(found: Any) -> bool:
    """Whether what a report reads of it is there."""
    try:
        run = found["run"]
        numbers = [run[key] for key in ("steps", "flops", "pass_flops")] + [run["memory"]["peak"]]
        numbers += [stage[key] for stage in run["stages"] for key in ("trained", "training")]
        return isinstance(found["values"], Mapping) and all(map(is_number, numbers))
    except (TypeError, LookupError):
        return False
