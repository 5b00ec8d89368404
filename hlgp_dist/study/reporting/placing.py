"""Runs to the places of their cells: by their studies' axes, or else by method, backbone and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.study.cells import Cell, by_seed, cells_of, labels_of
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import alike, grouped, must_agree
from hlgp_dist.study.members import Member
from hlgp_dist.study.reporting.places import BACKBONE, DATA, METHOD, Placed, title_of

STUDY = "study"
"""A further axis, where cells are of several."""


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
        member, same = cell.first.member, must_agree(cell.first)
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
    members = [cell.first.member for cell in cells]
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
    by_folder = [f"{label} ({cell.first.folder})" for label, cell in zip(labels, cells, strict=True)]
    return next(names for names in (labels, by_choice, by_folder) if _is_unique(names))


def _axes(choices: Sequence[Mapping[str, str]]) -> list[str]:
    return list(next((mine for mine in choices if mine), {}))


def _is_unique(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


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
    places = {(label, flow(_backbone(cell)), title_of(cell.first)) for label, cell in zip(named, cells, strict=True)}
    if len(places) < len(cells) or any(cell.first.member is not None for cell in cells):
        named = [cell.label for cell in cells]
    return [
        {METHOD: label, BACKBONE: backbone, DATA: title_of(cell.first)}
        for label, backbone, cell in zip(named, _backbone_names(cells), cells, strict=True)
    ]


def _backbone(cell: Cell) -> dict[str, Any]:
    """What a backbone is, one value a key."""
    same = must_agree(cell.first)
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
