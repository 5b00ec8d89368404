"""A configuration from a file and overrides, with each value's origin and every error at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hlgp_dist.config.cells import Choices
from hlgp_dist.config.merge import Layers, complete, leaves
from hlgp_dist.config.options import leaf_values
from hlgp_dist.config.problems import CELL, Invalid, Problem, raise_problems, schema_problems
from hlgp_dist.config.protocols import settings_of
from hlgp_dist.config.reading import parse_overrides, put_all, put_protocol, put_together, read_file, read_mapping
from hlgp_dist.config.rules import check, ignored
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.shared import Shared
from hlgp_dist.config.space import space_problems
from hlgp_dist.config.study_options import Study
from hlgp_dist.errors import ConfigError

DECIDED = ("seed", "run.dir", "run.name", "study")
"""What a cell must not say."""
MOST_NAMES = 4
"""Of cells in a message."""


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each value came from.

    `origins` maps the dotted key of every leaf to `default`, `FILE:LINE`, `override` or, for a mapping's values,
    `given`.
    """

    config: RunConfig
    origins: dict[str, str]
    notes: tuple[str, ...] = ()


def resolve(
    source: Path | str | Mapping[str, Any] | None, overrides: Sequence[str] = (), shared: Shared | None = None
) -> Resolved:
    """Defaults < file (a path) or mapping < `key.sub=value`. Raises ConfigError that lists everything wrong.

    shared: where relative paths lie, of what a user gives; what a run has written down has none.
    """
    problems: list[Problem] = []
    layers = read_file(Path(source), problems) if isinstance(source, Path | str) else read_mapping(source or {})
    put_protocol(layers)
    put_all(layers, parse_overrides(overrides, layers, problems), "override")
    put_protocol(layers)
    if shared is not None:
        problems += shared.place(layers)
    config = _validate(layers, problems)
    origins = {key: layers.origin(key) for key, _, _ in leaf_values(config)}
    return Resolved(config, origins, tuple(layers.notes))


def apply(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The configuration with dotted values (a trial's samples) put in, under the rules of overrides."""
    layers = read_mapping(config.model_dump(mode="json"))
    put_all(layers, values, "override")
    return _validate(layers)


def cells(config: RunConfig) -> dict[str, RunConfig]:
    """The study's cells by name, each a configuration of its own, in the order of `study_cells`.

    Raises:
        ConfigError: some of them are not valid; all that is wrong with any.
    """
    study = config.study
    assert study is not None, "the command line asks for a study section"
    found: dict[str, RunConfig] = {}
    wrong: dict[str, list[str]] = {}
    for name, choices in study.choices().items():
        try:
            found[name] = _cell(config, study, name, choices)
        except Invalid as error:
            for line in error.lines:
                wrong.setdefault(line, []).append(name)
    if wrong:
        bad = {name for names in wrong.values() for name in names}
        lines = [_told(study, line, names) for line, names in wrong.items()]
        raise ConfigError("\n  ".join([f"{len(bad)} of {len(bad) + len(found)} cells are not valid:", *lines]))
    return found


def _told(study: Study, line: str, names: Sequence[str]) -> str:
    """What is wrong with some cells: by whose value it is where that is known, else by the cells."""
    if line.startswith("study.cells."):
        return line
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    several = f"cells {', '.join(names[:MOST_NAMES])}{rest}" if len(names) > 1 else f"cell {names[0]}"
    if line.startswith("study.axes."):
        return f"{line} ({several})"
    return f"{study.place_of(names[0]) if len(names) == 1 else f'study, {several}'}: {line}"


def _cell(config: RunConfig, study: Study, name: str, choices: Choices) -> RunConfig:
    """The configuration, its choices' values over it, its own over them."""
    axes = {f"study.axes.{axis}.{choice}": study.axes[axis][choice] for axis, choice in choices.items()}
    own = {f"study.cells.{name}": study.cells[name]} if name in study.cells else {}
    for origin, values in [*axes.items(), *own.items()]:
        _refuse_decided(values, origin)
    layers = _to_be_varied(config)
    layers.put(("study",), None, CELL)
    put_together(layers, axes)
    for origin, values in own.items():
        put_all(layers, values, origin)
    return _varied(layers, {*axes, *own})


def _refuse_decided(values: Mapping[str, Any], origin: str) -> None:
    given = {".".join(path) for path, _ in leaves(values)}
    for key in DECIDED:
        if any(name == key or name.startswith(f"{key}.") for name in given):
            raise Invalid([f"{origin}: {key} is the study's to decide; take it out"])


def vary(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`apply`, but what the configuration says and has no effect beside the values is taken back."""
    layers = _to_be_varied(config)
    put_all(layers, values, CELL)
    return _varied(layers, {CELL})


def _to_be_varied(config: RunConfig) -> Layers:
    implied = settings_of(config.benchmark.protocol) if config.benchmark.protocol is not None else {}
    layers = read_mapping(config.model_dump(mode="json", exclude={"benchmark": set(implied)}))
    put_protocol(layers)
    return layers


def _varied(layers: Layers, origins: Set[str]) -> RunConfig:
    """origins: of what it is varied by, which is not taken back."""
    put_protocol(layers)
    _take_back(layers, origins)
    return _validate(layers)


def _take_back(layers: Layers, origins: Set[str]) -> None:
    """Drop what is without effect and was not given for the cell; a search without a key is none."""
    cell, problems = _try(layers)
    if cell is None:
        raise_problems(problems)
    assert cell is not None
    layers.drop(lambda path, given: given.origin not in origins and ignored(cell, _key_of(path)) is not None)
    if cell.search is not None and "space" not in layers.plain()["search"]:
        layers.put(("search",), None, CELL)
        _take_back(layers, {*origins, CELL})


def _key_of(path: tuple[str, ...]) -> str:
    """What a value is about: of a search space, the key that is searched."""
    return path[2] if path[:2] == ("search", "space") else ".".join(path)


def _validate(layers: Layers, problems: Sequence[Problem] = ()) -> RunConfig:
    """The schema, then the rules over sections, then the search space."""
    config, found = _try(layers)
    raise_problems([*problems, *found])
    assert config is not None
    raise_problems(space_problems(config, layers.origin, lambda values: _try_values(config, values)))
    if config.study is not None:
        cells(config)
    return config


def _try(layers: Layers) -> tuple[RunConfig | None, list[Problem]]:
    """Strict, and by way of JSON so that lists stand for tuples."""
    data = complete(layers.plain())
    try:
        config = RunConfig.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        return None, schema_problems(error, data, layers.origin)
    return config, check(config, layers.origin)


def _try_values(config: RunConfig, values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a trial of these samples."""
    layers = read_mapping(config.model_dump(mode="json"))
    put_all(layers, {"search": None, "launch.kind": "ray", "launch.driver_resource": None, **values}, "given")
    return _try(layers)[1]
