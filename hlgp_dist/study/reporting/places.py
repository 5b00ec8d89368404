"""Cells by their place on the axes of a study, and the lines through them that differ along one axis alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.schema import ShardData
from hlgp_dist.study.cells import Cell
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import grouped, must_agree

MOST_LINES = 9
METHOD, BACKBONE, DATA = "method", "backbone", "data"
"""The axes of runs that no study has placed."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A cell with its choice on each axis, on none if its study names it singly beside its axes.

    table: of the cells that are like it in all that a table must share; series: what tells it from the others there;
    name: what tells it from all others.
    """

    cell: Cell
    choices: Mapping[str, str]
    table: int
    series: str
    name: str

    @property
    def run(self) -> Run:
        """Of its first seed."""
        return self.cell.first

    @property
    def planned(self) -> Mapping[str, Any] | None:
        """What its study planned of its run of the first seed."""
        return self.run.planned

    def other(self, axis: str) -> tuple[str, ...]:
        """Its choices on all axes but one."""
        return tuple(choice for name, choice in self.choices.items() if name != axis)

    def finals(self) -> list[float]:
        """Final average accuracy by seed, a fraction."""
        return [run.result["final_average_accuracy"] for run in self.cell.runs.values()]


@dataclass(frozen=True)
class Line:
    """Cells that differ along one axis alone, in the axis' order; `series` names what they share, or the axis."""

    series: str
    members: Sequence[Placed]


def axes_of(cells: Sequence[Placed]) -> dict[str, list[str]]:
    """The choices on each axis along which cells differ, in the order in which they come up."""
    on_axes = [cell for cell in cells if cell.choices]
    names = on_axes[0].choices if on_axes else ()
    found = {axis: list(dict.fromkeys(cell.choices[axis] for cell in on_axes)) for axis in names}
    return {axis: choices for axis, choices in found.items() if len(choices) > 1}


def parts_tables(axis: str, cells: Sequence[Placed]) -> bool:
    """Whether cells of one table all have one choice on it."""
    on_axes = [cell for cell in cells if cell.choices]
    return len({(cell.table, cell.choices[axis]) for cell in on_axes}) == len({cell.table for cell in on_axes})


def lines_along(axis: str, cells: Sequence[Placed]) -> list[Line]:
    """Those of at least two cells."""
    order = axes_of(cells)[axis]
    varied = [name for name in axes_of(cells) if name != axis]
    lines = []
    for _, members in grouped((cell, list(cell.other(axis))) for cell in cells if cell.choices):
        members.sort(key=lambda cell: order.index(cell.choices[axis]))
        series = "-".join(members[0].choices[name] for name in varied) or axis
        lines.append(Line(series, members))
    return [line for line in lines if len(line.members) > 1]


def in_panels(cells: Sequence[Placed]) -> list[list[Placed]]:
    """A panel a table; where one has too many lines to tell apart, a panel a choice on its first axis."""
    found = []
    for _, members in grouped((cell, cell.table) for cell in cells):
        axes = axes_of(members)
        if len(members) <= MOST_LINES or len(axes) < 2:
            found.append(members)
        else:
            axis = next(iter(axes))
            found += [own for _, own in grouped((cell, cell.choices.get(axis)) for cell in members)]
    return found


def panel_title(table: Sequence[Placed], cells: Sequence[Placed]) -> str:
    """The choices that all cells of a table share and other tables have not."""
    if not table or len(table) == len(cells):
        return ""
    shared = {
        axis: choice
        for axis, choice in table[0].choices.items()
        if all(cell.choices.get(axis) == choice for cell in table)
        and any(cell.choices.get(axis) != choice for cell in cells)
    }
    return ", ".join(f"{axis} {choice}" for axis, choice in shared.items())


def title_of(run: Run) -> str:
    """Pictures and tasks in a few words."""
    same = must_agree(run)
    own = Path(run.config.data.path).name if isinstance(run.config.data, ShardData) else "drawn pictures"
    pictures = same["prepared_from"] or own
    validation = " (validation pictures)" if same["evaluated_on"] == "validation" else ""
    return f"{pictures}, {len(same['task_sizes'])} tasks of {sizes(same['task_sizes'])} classes{validation}"


def by_pictures(cells: Sequence[Placed]) -> list[list[Placed]]:
    """Those that learned and were tested on the same, whatever their backbones."""

    def same(cell: Placed) -> dict[str, Any]:
        return {key: value for key, value in must_agree(cell.run).items() if not key.startswith("backbone.")}

    return [members for _, members in grouped((cell, same(cell)) for cell in cells)]


def sizes(counts: Sequence[int]) -> str:
    """`10`; `4 + 5` where the first differs; `5, the last 4`."""
    first, *others = counts
    if len(set(counts)) == 1:
        return str(first)
    if len(set(others)) == 1:
        return f"{first} + {others[0]}"
    return f"{first}, the last {counts[-1]}" if len(set(counts[:-1])) == 1 else ", ".join(map(str, counts))
