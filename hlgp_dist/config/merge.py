"""What was given, by whom: a file's values, overrides over them, and what a changed kind drops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pydantic.fields import FieldInfo

from hlgp_dist.config.grammar import Path, flow
from hlgp_dist.config.options import (
    SectionType,
    default_kind,
    field_at,
    is_mapping,
    is_text,
    kinds,
    named_levels,
    section_of,
    section_of_kind,
    sections,
)
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.section import Section


@dataclass(frozen=True)
class Given:
    """A plain value and where it was written."""

    value: Any
    origin: str


@dataclass
class Layers:
    """Given values by path, later layers over earlier ones; paths end at leaves, never at a filled mapping."""

    values: dict[Path, Given] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, values: Any, origin_of: Callable[[Path], str]) -> None:
        """The first layer: every leaf of nested mappings."""
        self.values.update({leaf: Given(item, origin_of(leaf)) for leaf, item in leaves(values) if leaf})

    def put(self, path: Path, value: Any, origin: str) -> None:
        """Set one value: a section's mapping is merged, anything else replaces what stands at the path."""
        target = field_at(path, self.plain())
        if isinstance(value, Mapping) and value and target is not None and sections(target.annotation):
            for name in sorted(value, key=lambda name: name != "kind"):
                self.put((*path, name), value[name], origin)
            return
        if path[-1] == "kind":
            self._drop_former_kind(path[:-1], value, origin)
        for other in [other for other in self.values if _is_within(other, path) or _is_within(path, other)]:
            del self.values[other]
        self.values.update({leaf: Given(item, origin) for leaf, item in leaves(value, path)})

    def drop(self, unwanted: Callable[[Path, Given], bool]) -> None:
        """Take values back: their defaults apply."""
        for path in [path for path, given in self.values.items() if unwanted(path, given)]:
            del self.values[path]

    def plain(self) -> dict[str, Any]:
        """The given values as one nested mapping."""
        tree: dict[str, Any] = {}
        for path, given in self.values.items():
            inner = tree
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
            inner[path[-1]] = given.value
        return tree

    def origin(self, key: str) -> str:
        """Where a dotted key's value comes from: its own origin, that of something in it, or of what it lies in."""
        names = {".".join(path): given.origin for path, given in self.values.items()}
        if key in names:
            return names[key]
        inside = [origin for name, origin in names.items() if name.startswith((f"{key}.", f"{key}["))]
        around = [origin for name, origin in names.items() if key.startswith((f"{name}.", f"{name}["))]
        return (inside + around)[0] if inside or around else "default"

    def _drop_former_kind(self, section: Path, kind: Any, origin: str) -> None:
        """Fields given to another kind do not apply to this one, but for those that both have from a common base."""
        target = field_at(section, self.plain())
        if target is None or not kinds(target):
            return
        given = self.values.get((*section, "kind"))
        former = given.value if given is not None else default_kind(target)
        if kind == former:
            return
        kept = {(*section, name) for name in ("kind", *_common_fields(target, former, kind))}
        given_here = [path for path in self.values if _is_within(path, section)]
        for path in [path for path in given_here if path[: len(section) + 1] not in kept]:
            dropped = self.values.pop(path)
            self.notes.append(
                f"{'.'.join(section)}.kind = {flow(kind)} ({origin}) drops {'.'.join(path)} = {flow(dropped.value)} "
                f"({dropped.origin}), which was given to kind {former}"
            )


def _common_fields(target: FieldInfo, former: Any, kind: Any) -> set[str]:
    """Fields that two kinds inherit from the same section."""
    old, new = section_of_kind(target, str(former)), section_of_kind(target, str(kind))
    if old is None or new is None:
        return set()
    shared = [base for base in old.__mro__ if issubclass(base, Section) and issubclass(new, base)]
    return {name for base in shared for name in base.model_fields}


def split_key(key: str, data: Mapping[str, Any]) -> Path:
    """A dotted key as a path; the keys of a free mapping (`backbone.kwargs`, `search.space`) may hold dots, and so may
    the names within `study.axes` and `study.cells` that are there already.
    """
    names = key.split(".")
    for end in range(1, len(names)):
        target = field_at(tuple(names[:end]), data)
        if target is not None and is_mapping(target):
            path, rest = tuple(names[:end]), ".".join(names[end:])
            return (*path, *_named(rest, named_levels(target), value_at(data, path)))
    return tuple(names)


def _named(rest: str, levels: int, known: Any) -> Path:
    """The names of so many levels, of those that are there the longest, and the free key."""
    if not levels or not rest:
        return (rest,) if rest else ()
    there = [
        name for name in (known if isinstance(known, Mapping) else ()) if rest == name or rest.startswith(f"{name}.")
    ]
    name = max(there, key=len, default=rest.partition(".")[0])
    return (name, *_named(rest[len(name) + 1 :], levels - 1, value_at(known, (name,))))


def wants_text(path: Path, data: Mapping[str, Any]) -> bool:
    """Whether the schema takes nothing but text at the path."""
    target = field_at(path, data)
    return target is not None and is_text(target)


def value_at(data: Any, path: Iterable[str]) -> Any:
    """Within nested mappings, None where there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of nested mappings; an empty mapping is a leaf."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, str(name)))
    else:
        yield path, plain(value)


def plain(value: Any) -> Any:
    """A value as YAML would give it: lists for tuples, text for paths, Python's numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def complete(data: dict[str, Any], section: SectionType = RunConfig) -> dict[str, Any]:
    """The data with what pydantic needs and a user may leave out: default kinds, and required sections as `{}`."""
    filled = dict(data)
    for name, target in section.model_fields.items():
        if target.is_required() and sections(target.annotation):
            filled.setdefault(name, {})
        value = filled.get(name)
        if not isinstance(value, dict):
            continue
        if kinds(target) and default_kind(target) is not None:
            value = {"kind": default_kind(target), **value}
        inner = section_of(target, value)
        filled[name] = complete(value, inner) if inner is not None else value
    return filled


def _is_within(path: Path, outer: Path) -> bool:
    return path[: len(outer)] == outer
