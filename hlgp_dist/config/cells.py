"""A study's cells by name: every combination of one choice of each axis, then those that are named singly.

On the section as plain data, so that whoever holds nothing but a study's file can ask, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

SEPARATOR = "-"
"""Between the names of choices in the name of their combination."""

Choices = dict[str, str]
"""Of a cell: axis to choice, in the order of the axes; empty for a cell that is of no combination."""


def study_cells(study: Mapping[str, Any]) -> dict[str, Choices]:
    """What each cell of a `study` section chooses on each axis, by the cell's name, in the study's order.

    The section need not be valid: what should be a mapping and is none counts as empty.
    """
    combined = combinations(_mapping(study.get("axes")))
    left_out = set(matching(study.get("skip") or (), combined))
    found = {name: choices for name, choices in combined.items() if name not in left_out}
    for name in _mapping(study.get("cells")):
        found.setdefault(name, {})
    return found


def combinations(axes: Mapping[str, Any]) -> dict[str, Choices]:
    """Every combination by its name, the last axis fastest; of two with one name the later one."""
    if not axes:
        return {}
    every = itertools.product(*(_mapping(choices) for choices in axes.values()))
    return {SEPARATOR.join(picked): dict(zip(axes, picked, strict=True)) for picked in every}


def matching(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """The names that one of the patterns (`*`, `?`, `[ab]`) fits, in their own order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
