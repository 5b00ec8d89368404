"""A configuration from a file and overrides, with each value's origin and every error at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hlgp_dist.config.grammar import GrammarError, parse_value, read_document
from hlgp_dist.config.merge import Given, Layers, complete, leaves, plain, split_key, wants_text
from hlgp_dist.config.options import leaf_values
from hlgp_dist.config.problems import CELL, Problem, raise_problems, schema_problems
from hlgp_dist.config.protocols import settings_of
from hlgp_dist.config.rules import check, ignored
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.shared import Shared
from hlgp_dist.config.space import space_problems
from hlgp_dist.errors import ConfigError

IMPLIED = "protocol "
"""How the origin of a protocol's settings begins."""
DECIDED = ("seed", "run.dir", "run.name", "study")
"""What a cell must not say."""


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
    layers = _read_file(Path(source), problems) if isinstance(source, Path | str) else _read_mapping(source or {})
    _put_protocol(layers)
    _put_all(layers, _parse_overrides(overrides, layers, problems), "override")
    _put_protocol(layers)
    if shared is not None:
        problems += shared.place(layers)
    config = _validate(layers, problems)
    origins = {key: layers.origin(key) for key, _, _ in leaf_values(config)}
    return Resolved(config, origins, tuple(layers.notes))


def apply(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The configuration with dotted values (a trial's samples) put in, under the rules of overrides."""
    layers = _read_mapping(config.model_dump(mode="json"))
    _put_all(layers, {key: plain(value) for key, value in values.items()}, "override")
    return _validate(layers)


def cells(config: RunConfig) -> dict[str, RunConfig]:
    """The study's cells by name, each a configuration of its own.

    Raises:
        ConfigError: some of them are not valid; all that is wrong with any.
    """
    assert config.study is not None, "the command line asks for a study section"
    found, wrong = {}, []
    for name, values in config.study.cells.items():
        try:
            _refuse_decided(values)
            found[name] = vary(config, {"study": None, **values})
        except ConfigError as error:
            wrong.append(f"study.cells.{name}: {error}")
    if wrong:
        raise ConfigError("\n  ".join([f"{len(wrong)} of {len(config.study.cells)} cells are not valid:", *wrong]))
    return found


def _refuse_decided(values: Mapping[str, Any]) -> None:
    given = {".".join(path) for path, _ in leaves(values)}
    for key in DECIDED:
        if any(name == key or name.startswith(f"{key}.") for name in given):
            raise ConfigError(f"{key} is the study's to decide; take it out")


def vary(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`apply`, but what the configuration says and has no effect beside the values is taken back."""
    implied = settings_of(config.benchmark.protocol) if config.benchmark.protocol is not None else {}
    layers = _read_mapping(config.model_dump(mode="json", exclude={"benchmark": set(implied)}))
    _put_protocol(layers)
    _put_all(layers, {key: plain(value) for key, value in values.items()}, CELL)
    _put_protocol(layers)
    _take_back(layers)
    return _validate(layers)


def _take_back(layers: Layers) -> None:
    """Drop what is without effect and was not given for the cell; a search without a key is none."""
    cell, problems = _try(layers)
    if cell is None:
        raise_problems(problems)
    assert cell is not None
    layers.drop(lambda path, given: given.origin != CELL and ignored(cell, _key_of(path)) is not None)
    if cell.search is not None and "space" not in layers.plain()["search"]:
        layers.put(("search",), None, CELL)
        _take_back(layers)


def _key_of(path: tuple[str, ...]) -> str:
    """What a value is about: of a search space, the key that is searched."""
    return path[2] if path[:2] == ("search", "space") else ".".join(path)


def _read_file(path: Path, problems: list[Problem]) -> Layers:
    layers = Layers()
    try:
        document = read_document(path.read_text(encoding="utf-8"))
    except GrammarError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot read the configuration: {reason}") from None
    for key_path, line in document.repeated:
        problems.append(Problem(".".join(key_path), "is given twice", origin=f"{path}:{line}"))
    layers.add(document.values, lambda leaf: f"{path}:{document.lines[leaf]}")
    return layers


def _read_mapping(source: Mapping[str, Any]) -> Layers:
    layers = Layers()
    layers.add(source, lambda leaf: "given")
    return layers


def _parse_overrides(overrides: Sequence[str], layers: Layers, problems: list[Problem]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            problems.append(Problem(override, "an override is key.sub=value", origin="override"))
            continue
        try:
            value = parse_value(text)
        except GrammarError as error:
            problems.append(Problem(override, str(error), origin="override"))
            continue
        values.pop(key, None)
        values[key] = text.strip() if _is_text_that_looks_like_a_number(key, value, layers) else value
    return values


def _is_text_that_looks_like_a_number(key: str, value: object, layers: Layers) -> bool:
    """`run.name=2024`: a file quotes it, a shell would eat the quotes."""
    data = layers.plain()
    return isinstance(value, bool | int | float) and wants_text(split_key(key, data), data)


def _put_all(layers: Layers, values: Mapping[str, Any], origin: str) -> None:
    """Kinds first, outer before inner: what an override gives belongs to the kind that the overrides chose."""
    kinds = sorted((key for key in values if key.endswith(".kind")), key=lambda key: key.count("."))
    for key in [*kinds, *(key for key in values if key not in kinds)]:
        layers.put(split_key(key, layers.plain()), values[key], origin)


def _put_protocol(layers: Layers) -> None:
    """A protocol's own settings in place of a former one's, where nothing else was given.

    Without a protocol a former one's stay: they are the task sizes of a configuration that others vary.
    """
    given = layers.plain().get("benchmark")
    name = given.get("protocol") if isinstance(given, dict) else None
    with suppress(ValueError):  # the schema says what is wrong with the name
        for key, value in settings_of(name).items() if isinstance(name, str) else ():
            given = layers.values.get(("benchmark", key))
            if given is None or given.origin.startswith(IMPLIED):
                layers.values["benchmark", key] = Given(value, f"{IMPLIED}{name}")


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
    layers = _read_mapping(config.model_dump(mode="json"))
    _put_all(layers, {"search": None, "launch.kind": "ray", "launch.driver_resource": None, **values}, "given")
    return _try(layers)[1]
