"""What a user or a caller gives, as layers: a file, a mapping, overrides over them, what a protocol implies."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hlgp_dist.config.grammar import GrammarError, parse_value, read_document
from hlgp_dist.config.merge import Given, Layers, leaves, plain, split_key, wants_text
from hlgp_dist.config.problems import Invalid, Problem
from hlgp_dist.config.protocols import settings_of
from hlgp_dist.errors import ConfigError

IMPLIED = "protocol "
"""How the origin of a protocol's settings begins."""


def read_file(path: Path, problems: list[Problem]) -> Layers:
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


def read_mapping(source: Mapping[str, Any]) -> Layers:
    layers = Layers()
    layers.add(source, lambda leaf: "given")
    return layers


def parse_overrides(overrides: Sequence[str], layers: Layers, problems: list[Problem]) -> dict[str, Any]:
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


def put_all(layers: Layers, values: Mapping[str, Any], origin: str) -> None:
    """Kinds first, outer before inner: what an override gives belongs to the kind that the overrides chose."""
    kinds = sorted((key for key in values if key.endswith(".kind")), key=lambda key: key.count("."))
    for key in [*kinds, *(key for key in values if key not in kinds)]:
        layers.put(split_key(key, layers.plain()), plain(values[key]), origin)


def put_protocol(layers: Layers) -> None:
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


def put_together(layers: Layers, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Values by their origin, none of which may replace another's; kinds first, since they decide what else there is.

    Raises:
        Invalid: two of them set one key.
    """
    kinds = [(key, value, origin) for origin, values in given.items() for key, value in _kinds(values)]
    for key, value, origin in sorted(kinds, key=lambda kind: kind[0].count(".")):
        _put_beside(layers, {key: value}, origin, given.keys() - {origin})
    for origin, values in given.items():
        _put_beside(layers, values, origin, given.keys() - {origin})


def _put_beside(layers: Layers, values: Mapping[str, Any], origin: str, others: Container[str]) -> None:
    before = dict(layers.values)
    put_all(layers, values, origin)
    for path, former in before.items():
        if former.origin in others and layers.values.get(path) != former:
            raise Invalid([f"{former.origin} and {origin} both set {'.'.join(path)}"])


def _kinds(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    keys = [(".".join(path), value) for path, value in leaves(values)]
    return [(key, value) for key, value in keys if key.endswith(".kind")]
