"""The options of a study: its cells and its seeds."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, model_validator

from hlgp_dist.config.section import FOLDER_NAME, Section, Seed


class Study(Section):
    """Cells, each the configuration with values of its own, over every seed.

    What the configuration says and a cell's method has no use for is left out of the cell. seeds: that every cell runs
    with. only: some of the cells. cells: by name, values nested or by dotted key.
    """

    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    only: tuple[str, ...] | None = Field(default=None, min_length=1)
    cells: dict[str, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds names a seed twice")
        unknown = [name for name in self.only or () if name not in self.cells]
        if unknown:
            raise ValueError(f"only: there is no cell {unknown[0]}; there are {', '.join(self.cells)}")
        for name in self.cells:
            if not re.fullmatch(FOLDER_NAME, name):
                raise ValueError(f"cells: {name!r} must be a folder's name: letters, digits, '.', '_', '-'")
        return self
