"""The one YAML grammar of files, overrides and search spaces, with the line of every value.

Scalars follow YAML 1.2's core schema, so `1e-3` is a number while `no`, `1:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]

CORE_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)

PLAIN_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class GrammarError(ValueError):
    """Text that is not a configuration; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class CoreLoader(yaml.SafeLoader):
    """The safe loader with the core schema's scalars and without anchors, aliases and merge keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (the base declares it so)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise GrammarError("anchors and aliases are not supported", event.start_mark.line + 1)
        return super().compose_node(parent, index)


class CoreDumper(yaml.SafeDumper):
    """Quotes every text that either grammar, YAML 1.1 or the core schema, would read as something else."""


for tag, pattern, first in CORE_SCALARS:
    for kind in (CoreLoader, CoreDumper):
        kind.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), list(first))


def _integer(loader: CoreLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # YAML 1.1's own constructor reads 010 as eight


CoreLoader.add_constructor("tag:yaml.org,2002:int", _integer)


@dataclass(frozen=True)
class Document:
    """A parsed file: plain values, the line of each, and the keys that were given twice as (path, line)."""

    values: dict[str, Any]
    lines: dict[Path, int]
    repeated: list[tuple[Path, int]] = field(default_factory=list)


def read_document(text: str) -> Document:
    """Parse a whole file. Raises GrammarError for anything but one mapping with text keys."""
    node = _compose(text)
    document = Document({}, {})
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise GrammarError("a configuration is a mapping of keys to values", node.start_mark.line + 1)
    document.values.update(_plain(node, (), document))
    return document


def parse_value(text: str) -> Any:
    """The value of an override: a scalar or a flow value such as `[1, 2]` or `{a: 1}`; GrammarError otherwise."""
    node = _compose(text)
    if node is None:
        raise GrammarError("no value; write null for none", 1)
    if any(not child.flow_style for child in _collections(node)):
        raise GrammarError("write a list as [a, b] and a mapping as {a: b}", 1)
    document = Document({}, {})
    value = _plain(node, (), document)
    for path, _ in document.repeated:
        raise GrammarError(f"{'.'.join(path)} is given twice", 1)
    return value


def flow(value: object) -> str:
    """One line of YAML that both grammars read back as `value`."""
    text = yaml.dump(value, Dumper=CoreDumper, default_flow_style=True, width=float("inf"), sort_keys=False)
    line = text.removesuffix("...\n").rstrip("\n")
    if "\n" not in line:
        return line
    quoted = yaml.dump(value, Dumper=CoreDumper, default_style='"', default_flow_style=True, width=float("inf"))
    return quoted.rstrip("\n")


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=CoreLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        rule = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise GrammarError(f"not YAML: {rule}", mark.line + 1 if mark else 1) from None


def _plain(node: yaml.Node, path: Path, document: Document) -> Any:
    """The node as dicts, lists and scalars; notes lines and repeated keys in the document."""
    document.lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.CollectionNode) and node.tag not in PLAIN_COLLECTIONS:
        raise GrammarError(f"not plain data: the tag {node.tag}", node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, str(index)), document) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise GrammarError(f"the key {key!r} is not text; quote it", line)
        if key in values:
            document.repeated.append(((*path, key), line))
        values[key] = _plain(value_node, (*path, key), document)
        document.lines[(*path, key)] = line
    return values


def _scalar(node: yaml.Node) -> Any:
    loader = CoreLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        rule = getattr(error, "problem", None) or str(error)
        raise GrammarError(f"not plain data: {rule}", node.start_mark.line + 1) from None
    finally:
        loader.dispose()


def _collections(node: yaml.Node) -> Iterator[yaml.CollectionNode]:
    if isinstance(node, yaml.CollectionNode):
        yield node
        for item in node.value:
            for child in item if isinstance(item, tuple) else (item,):
                yield from _collections(child)
