"""Cells by their place on the axes of a study, and the lines through them that differ along one axis alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.schema import ShardData
from hlgp_dist.study.cells import Cell, by_seed, cells_of, labels_of
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import alike, grouped, must_agree
from hlgp_dist.study.members import Member

MOST_LINES = 9
METHOD, BACKBONE, DATA = "method", "backbone", "data"
"""The axes of runs that no study has placed."""
STUDY = "study"
"""A further axis, where cells are of several."""


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
        return _first(self.cell)

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


def placed(runs: Sequence[Run]) -> list[Placed]:
    """Every cell of the runs, by tables of like ones.

    Raises:
        ConfigError: two runs are of one cell and one seed.
    """
    tables = [cells_of(members) for members in alike(runs)]
    everything = _joined([(number, cell) for number, cells in enumerate(tables) for cell in cells])
    numbers, cells = [number for number, _ in everything], [cell for _, cell in everything]
    choices = _given(cells) or _derived(cells)
    apart = _axes_of_tables(list(zip(numbers, choices, strict=True)))
    found = zip(cells, choices, numbers, _names(cells, choices), strict=True)
    return [Placed(cell, mine, number, _series(cell, mine, apart), name) for cell, mine, number, name in found]


def _joined(cells: Sequence[tuple[int, Cell]]) -> list[tuple[int, Cell]]:
    """A study's cell stands once, in its first table, where its seeds are in several: each drew its own weights."""

    def drawn(number: int, cell: Cell) -> list[Any]:
        member, same = _first(cell).member, must_agree(_first(cell))
        if member is None:
            return [number, cell.label]
        return [member.study, member.cell, dict(cell.settings), same | {"backbone.sha256": None}]

    groups = grouped(((number, cell), drawn(number, cell)) for number, cell in cells)
    return [(members[0][0], _as_one([cell for _, cell in members])) for _, members in groups]


def _as_one(cells: Sequence[Cell]) -> Cell:
    first = cells[0]
    return replace(first, runs=by_seed(first.label, [run for cell in cells for run in cell.runs.values()]))


def _given(cells: Sequence[Cell]) -> list[dict[str, str]] | None:
    """By their studies; None where none has placed them, or these have other axes, or one place for two."""
    members = [_first(cell).member for cell in cells]
    names = _study_names([member.study for member in members if member is not None])
    found = [_choices(member, names) for member in members]
    on_axes = [mine for mine in found if mine]
    have_same_axes = len({tuple(mine) for mine in on_axes}) == 1
    return found if have_same_axes and _is_unique([tuple(mine.values()) for mine in on_axes]) else None


def _choices(member: Member | None, studies: Mapping[str, str]) -> dict[str, str]:
    if member is None or not member.choices:
        return {}
    return ({STUDY: studies[member.study]} if len(studies) > 1 else {}) | dict(member.choices)


def _study_names(studies: Sequence[str]) -> dict[str, str]:
    """The folder's, or the whole place where two folders have one name."""
    distinct = list(dict.fromkeys(studies))
    names = [study.rstrip("/").rpartition("/")[2] for study in distinct]
    return dict(zip(distinct, names if _is_unique(names) else distinct, strict=True))


def _names(cells: Sequence[Cell], choices: Sequence[Mapping[str, str]]) -> list[str]:
    """Labels, or where two tables have the same one the choices, or at last the folders too."""
    labels = [cell.label for cell in cells]
    varied = [axis for axis in _axes(choices) if len({mine[axis] for mine in choices if mine}) > 1]
    by_choice = ["-".join(mine[axis] for axis in varied if mine) for mine in choices]
    by_choice = [name or label for name, label in zip(by_choice, labels, strict=True)]
    by_folder = [f"{label} ({_first(cell).folder})" for label, cell in zip(labels, cells, strict=True)]
    return next(names for names in (labels, by_choice, by_folder) if _is_unique(names))


def _axes(choices: Sequence[Mapping[str, str]]) -> list[str]:
    return list(next((mine for mine in choices if mine), {}))


def _is_unique(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


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
    """`10`, or `4 + 5` where the first differs."""
    first, rest = counts[0], set(counts[1:])
    if rest in (set(), {first}):
        return str(first)
    return f"{first} + {rest.pop()}" if len(rest) == 1 else ", ".join(map(str, counts))


def _axes_of_tables(cells: Sequence[tuple[int, Mapping[str, str]]]) -> set[str]:
    """The axes on which the cells of a table share their choice, and those that nothing varies on."""
    found = {axis for _, mine in cells for axis in mine}
    for _, members in grouped((mine, number) for number, mine in cells if mine):
        found -= {axis for axis in members[0] if len({mine[axis] for mine in members}) > 1}
    return found


def _series(cell: Cell, choices: Mapping[str, str], apart: set[str]) -> str:
    return "-".join(choice for axis, choice in choices.items() if axis not in apart) or cell.label


def _derived(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """Method and backbone, and data where there are several."""
    settings = [cell.settings for cell in cells]
    distinct = [members[0] for _, members in grouped((mine, mine) for mine in map(dict, settings))]
    labels = labels_of(distinct)
    named = [labels[distinct.index(dict(mine))] for mine in settings]
    places = {(label, flow(_backbone(cell)), title_of(_first(cell))) for label, cell in zip(named, cells, strict=True)}
    if len(places) < len(cells) or any(_first(cell).member is not None for cell in cells):
        named = [cell.label for cell in cells]
    return [
        {METHOD: label, BACKBONE: backbone, DATA: title_of(_first(cell))}
        for label, backbone, cell in zip(named, _backbone_names(cells), cells, strict=True)
    ]


def _backbone(cell: Cell) -> dict[str, Any]:
    """What a backbone is, one value a key."""
    same = must_agree(_first(cell))
    own: dict[str, Any] = {
        key.removeprefix("backbone."): value for key, value in same.items() if key.startswith("backbone.")
    }
    kwargs: dict[str, Any] = own.pop("kwargs")
    return own | kwargs


def _backbone_names(cells: Sequence[Cell]) -> list[str]:
    """timm's name without its tag, and what else is not the same for all of one name."""
    backbones = [_backbone(cell) for cell in cells]

    def varied(backbone: Mapping[str, Any]) -> str:
        peers = [other for other in backbones if other["name"] == backbone["name"]]
        keys = [key for key in backbone if any(other.get(key) != backbone[key] for other in peers)]
        return "".join(f" {key}={flow(backbone[key])}" for key in keys if key != "sha256")

    names = [f"{backbone['name'].partition('.')[0]}{varied(backbone)}" for backbone in backbones]
    weights = {
        name: {own["sha256"] for own, mine in zip(backbones, names, strict=True) if mine == name} for name in names
    }
    return [
        name if len(weights[name]) == 1 else f"{name} {backbone['sha256'][:6]}"
        for name, backbone in zip(names, backbones, strict=True)
    ]


def _first(cell: Cell) -> Run:
    return next(iter(cell.runs.values()))
