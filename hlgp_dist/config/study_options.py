"""The options of a study: axes and cells, what of them is run, and its seeds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from hlgp_dist.config.cells import Choices, combinations, matching, study_cells
from hlgp_dist.config.section import FOLDER_NAME, Section, Seed

Values = dict[str, Any]
"""Of options, nested or by dotted key."""


OWN_FILES = ("study.yaml", "plan.json", "report")
"""What a study keeps beside the folders of its cells."""


class Study(Section):
    """Cells, each the configuration with values of its own, over every seed.

    seeds: that every cell runs with. axes: by name the choices of each, by name the values of each choice; every
    combination is a cell, named by its choices, `s-hlgp`. skip: combinations that are none, by name or pattern (`h-*`).
    cells: by name, beside the combinations, or under a combination's name what it has beyond its choices. only: the
    cells to run, likewise. What the configuration says and a cell's method has no use for is left out of the cell.
    """

    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    only: tuple[str, ...] | None = Field(default=None, min_length=1)
    axes: dict[str, dict[str, Values]] = Field(default={})
    skip: tuple[str, ...] = ()
    cells: dict[str, Values] = Field(default={})

    def choices(self) -> dict[str, Choices]:
        """Of every cell; see `study_cells`."""
        return study_cells({"axes": self.axes, "skip": self.skip, "cells": self.cells})

    def chosen(self) -> list[str]:
        """The cells that `only` leaves."""
        return list(self.choices()) if self.only is None else matching(self.only, self.choices())

    def place_of(self, cell: str) -> str:
        """How a message says where a cell comes from."""
        return f"study.cells.{cell}" if cell in self.cells else f"study.axes, cell {cell}"

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds names a seed twice")
        for key, name in self._given_names():
            if not re.fullmatch(FOLDER_NAME, name):
                raise ValueError(f"{key}: {name!r} must be a folder's name: letters, digits, '.', '_', '-'")
        self._check_axes()
        for name in self.choices():
            if name in OWN_FILES:
                raise ValueError(f"cells: {name} is a name that the study's own folder has; take another")
        _refuse_alike("cells", self.choices(), str.casefold, "a folder on some machines")
        _refuse_idle("skip", self.skip, combinations(self.axes), "combination")
        if not self.choices():
            raise ValueError("cells: there is none; give cells, or axes")
        _refuse_idle("only", self.only or (), self.choices(), "cell")
        return self

    def _given_names(self) -> Iterator[tuple[str, str]]:
        yield from (("axes", name) for name in self.axes)
        yield from ((f"axes.{axis}", name) for axis, choices in self.axes.items() for name in choices)
        yield from (("cells", name) for name in self.cells)

    def _check_axes(self) -> None:
        for axis, choices in self.axes.items():
            if not choices:
                raise ValueError(f"axes.{axis} has no choice")
        _refuse_alike("axes", self.axes, lambda axis: re.sub(r"[^a-z0-9]", "_", axis.casefold()), "a figure's name")
        combined = combinations(self.axes)
        if self.axes and len(combined) < math.prod(map(len, self.axes.values())):
            raise ValueError("axes: two combinations have one name; name choices without '-'")
        for name in matching(self.skip, combined):
            if name in self.cells:
                raise ValueError(f"cells: {name} is the name of a combination that skip leaves out; take another")


def _refuse_alike(field: str, names: Iterable[str], written: Callable[[str], str], what: str) -> None:
    """Two that are one as they are written."""
    seen = dict[str, str]()
    for name in names:
        other = seen.setdefault(written(name), name)
        if other != name:
            raise ValueError(f"{field}: {other} and {name} are too like, one as {what}; take another name for one")


def _refuse_idle(field: str, patterns: Sequence[str], names: Mapping[str, Choices], what: str) -> None:
    """Each pattern must fit something."""
    for pattern in patterns:
        if not matching([pattern], names):
            raise ValueError(f"{field}: there is no {what} {pattern}; there are {', '.join(names) or 'none'}")
