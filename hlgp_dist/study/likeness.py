"""What runs must share to stand in one table, and what may differ but has to be said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hlgp_dist.config.grammar import flow
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.collect import Run

Item = TypeVar("Item")
Groups = list[tuple[Any, list[Item]]]
"""Those that have a value, by value, in the order in which the values come up."""

MOST_NAMES = 4
UNKNOWN = "unknown"


def must_agree(run: Run) -> dict[str, Any]:
    """Weights, input, pictures, split, class order and what was tested on: what else than a method moves accuracy."""
    result, backbone = run.result, run.config.backbone
    return {
        "backbone.name": backbone.name,
        "backbone.sha256": result["backbone"]["sha256"],
        "backbone.img_size": backbone.img_size,
        "backbone.normalization": backbone.normalization,
        "backbone.kwargs": dict(backbone.kwargs),
        "dataset": result["dataset"],
        "prepared_from": result.get("prepared_from"),
        "evaluated_on": result["evaluated_on"],
        "old_task_fraction": result.get("old_task_fraction"),
        "class_order": result["class_order"],
        "task_sizes": result["task_sizes"],
        "num_test_images": result["num_test_images"],
    }


def moves_speed(run: Run) -> dict[str, Any]:
    """Where these differ, images a second say nothing of a method."""
    return {
        "engine.precision": run.config.engine.precision,
        "num_workers": run.result.get("num_workers", UNKNOWN),
        "devices": run.environment.get("devices", UNKNOWN),
        "usable_cores": run.environment.get("usable_cores", UNKNOWN),
    }


def speed_doubts(runs: Sequence[Run]) -> dict[str, Groups[Run]]:
    """The keys of `moves_speed` that are not alike, or not known."""
    values = {key: grouped((run, moves_speed(run)[key]) for run in runs) for key in moves_speed(runs[0])}
    return {key: groups for key, groups in values.items() if len(groups) > 1 or groups[0][0] == UNKNOWN}


def may_differ(run: Run) -> dict[str, Any]:
    """What rows of one table may differ in; a note says where they do."""
    return {
        "timm_version": run.result["backbone"].get("timm_version", UNKNOWN),
        "git_commit": run.environment.get("git_commit") or UNKNOWN,
        "protocol": run.result.get("protocol"),
    }


def refuse_unlike(runs: Sequence[Run]) -> None:
    """ConfigError with every field in which the runs must agree and do not: its values, and whose they are."""
    unlike = differing(runs, must_agree)
    if not unlike:
        return
    lines = [f"{key}: {told(groups, folder_of)}" for key, groups in unlike.items()]
    if "backbone.sha256" in unlike and any(run.config.backbone.weights == "none" for run in runs):
        lines.append("backbone.weights: none draws other weights for every seed; give a file to compare seeds")
    raise ConfigError("\n  ".join(["unlike results do not stand in one table; give --apart for a table each:", *lines]))


def alike(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups, within which they share all that they must."""
    return [members for _, members in grouped((run, must_agree(run)) for run in runs)]


def differing(items: Sequence[Item], values: Callable[[Item], Mapping[str, Any]]) -> dict[str, Groups[Item]]:
    """The keys of `values` that do not have one value for all items that have the key."""
    mine = [(item, values(item)) for item in items]
    keys = dict.fromkeys(key for _, fields in mine for key in fields)
    by_value = {key: grouped((item, fields[key]) for item, fields in mine if key in fields) for key in keys}
    return {key: groups for key, groups in by_value.items() if len(groups) > 1}


def grouped(pairs: Iterable[tuple[Item, Any]]) -> Groups[Item]:
    """Items by equal value."""
    groups: dict[str, tuple[Any, list[Item]]] = {}
    for item, value in pairs:
        groups.setdefault(json.dumps(value, sort_keys=True), (value, []))[1].append(item)
    return list(groups.values())


def told(groups: Groups[Item], name: Callable[[Item], str]) -> str:
    """`0.1 in a, b; 0.2 in c`; of lists only the first place at which they part."""
    lists = [value for value, _ in groups if isinstance(value, list)]
    if len(lists) == len(groups) and max(map(len, lists)) > 1:
        place = _parting(lists)
        shown = [flow(value[place]) if place < len(value) else "the end" for value in lists]
        shown = [f"{text} at place {place}" for text in shown]
    else:
        shown = [flow(value) for value, _ in groups]
    return "; ".join(f"{text} in {_names(map(name, items))}" for text, (_, items) in zip(shown, groups, strict=True))


def folder_of(run: Run) -> str:
    """How a message names a run."""
    return str(run.folder)


def _parting(lists: Sequence[Sequence[Any]]) -> int:
    shortest = min(map(len, lists))
    return next((i for i in range(shortest) if any(other[i] != lists[0][i] for other in lists)), shortest)


def _names(names: Iterable[str]) -> str:
    every = list(names)
    rest = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + rest
