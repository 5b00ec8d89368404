"""What is wrong with a configuration: one line for each key, value, rule and the place it was written."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.options import (
    SectionType,
    all_options,
    is_mapping,
    kinds,
    section_of,
    sections,
    tag_of,
    takes_plugins,
)
from hlgp_dist.config.plugins import plugin_names
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import Domain
from hlgp_dist.errors import ConfigError

MISSING = object()
CELL = "cell"
"""The origin of what a configuration is varied by."""
UNTOLD = ("", "default", "given", CELL)
"""Origins that name no place."""
VALUE_CHARACTERS = 80
SCALARS = "must be true, false, a number, text or null"
WORDS = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
}
DOMAINS = [name for domain in sections(Domain) for name in domain.model_fields]


@dataclass(frozen=True)
class Problem:
    """`value` is MISSING where there is none to show, `is_joint` where the fault lies in several keys together."""

    key: str
    rule: str
    value: Any = MISSING
    origin: str = ""
    is_joint: bool = False

    def __str__(self) -> str:
        place = f"{self.origin}: " if self.origin not in UNTOLD else ""
        return f"{place}{self.key}{_shown(self.value)}: {self.rule}"


class Invalid(ConfigError):
    """`lines`: everything that is wrong, each by itself."""

    def __init__(self, lines: Sequence[str]) -> None:
        several = [f"{len(lines)} errors in the configuration:"] if len(lines) > 1 else []
        super().__init__("\n  ".join([*several, *lines]))
        self.lines = tuple(lines)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Invalid with every problem; nothing if there is none."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    if lines:
        raise Invalid(lines)


def schema_problems(error: ValidationError, data: dict[str, Any], origin_of: Callable[[str], str]) -> list[Problem]:
    """Pydantic's errors by the user's own keys; `origin_of(dotted key)` says where a value was written."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        if _is_untried_domain(detail["loc"], data):
            continue
        problem = _translate(detail, data)
        origin = origin_of(problem.key)
        found.setdefault(problem.key, replace(problem, origin=origin))
    return list(found.values())


def suggestion(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest valid name, here or as the last part of any option's key; else empty."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    if not near:
        near = [key for key in _plain_keys() if name in (key, key.rpartition(".")[2])]
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True)
class _Place:
    """Where an error points: the dotted key, section, field and plain value (of an unknown key, its parent's two)."""

    key: str
    section: SectionType | None
    field: FieldInfo | None
    value: Any
    name: str = ""


def _translate(detail: Any, data: dict[str, Any]) -> Problem:
    place = _locate(detail["loc"], data)
    kind, context = detail["type"], detail.get("ctx", {})
    if place.key.startswith("search.space."):
        return Problem(place.key, _domain_rule(detail, place.value), place.value)
    if kind in ("missing", "too_long") and place.field is not None and isinstance(place.value, list | tuple):
        wanted = [part for part in get_args(place.field.annotation) if part is not Ellipsis]
        return Problem(place.key, f"must be a list of {len(wanted)} values", place.value)
    if kind == "missing":
        return Problem(place.key, "is required")
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "union_tag_invalid" and place.field is not None:
        return Problem(f"{place.key}.kind", _kind_rule(place.field, context["tag"]), context["tag"])
    if kind == "value_error":
        return _section_rule(place, str(context["error"]))
    tagged = _choices(place.field)
    if tagged and not isinstance(place.value, dict):
        hint = f"; write {place.key}.kind={place.value}" if str(place.value) in tagged else ""
        return Problem(place.key, f"must be a section with one of the kinds {', '.join(tagged)}{hint}", place.value)
    return Problem(place.key, _leaf_rule(place, detail), place.value)


def _locate(loc: Sequence[str | int], data: dict[str, Any]) -> _Place:
    """Follow pydantic's location through the schema, leaving out the tags and type names it puts in between."""
    section: SectionType | None = RunConfig
    field: FieldInfo | None = None
    key, value, rest = "", data, list(loc)
    while rest:
        if section is not None:
            name = str(rest.pop(0))
            owner, field = field, section.model_fields.get(name)
            key, value = f"{key}.{name}".lstrip("."), value.get(name, MISSING) if isinstance(value, dict) else MISSING
            parent, section = section, section_of(field, value) if field is not None else None
            if field is None:
                return _Place(key, parent, owner, value, name)
            if section is not None and kinds(field) and rest:
                rest.pop(0)
        elif field is not None and is_mapping(field) and isinstance(value, dict) and str(rest[0]) in value:
            while rest and isinstance(value, dict) and str(rest[0]) in value:
                name = str(rest.pop(0))
                key, value = f"{key}.{name}", value[name]
            return _Place(key, None, field, value)
        elif isinstance(rest[0], int) and isinstance(value, list) and rest[0] < len(value):
            index = rest.pop(0)
            key, value = f"{key}[{index}]", value[int(index)]
        else:
            break
    return _Place(key, section, field, value)


def _unknown_key(place: _Place) -> Problem:
    assert place.section is not None
    parent = place.key.removesuffix(place.name).rstrip(".")
    tag = tag_of(place.section)
    owner = f" of {parent}" if parent else ""
    kind = f" with kind {tag}" if tag else ""
    others = [other for other, section in _choices(place.field).items() if place.name in section.model_fields]
    hint = f"; kind {' or '.join(others)} has it" if others else suggestion(place.name, place.section.model_fields)
    if "." in place.name:
        hint = "; in a file sections are nested"
    return Problem(place.key, f"unknown key{owner}{kind}{hint}", place.value)


def _choices(field: FieldInfo | None) -> dict[str, SectionType]:
    return kinds(field) if field is not None else {}


def _kind_rule(field: FieldInfo, tag: object) -> str:
    tagged = [*kinds(field), *(plugin_names() if takes_plugins(field) else ())]
    return f"must be one of {', '.join(tagged)}{suggestion(str(tag), tagged)}"


def _section_rule(place: _Place, message: str) -> Problem:
    """A section's own rule starts with the field at fault, by convention."""
    head = message.split(" ", 1)[0].rstrip(":").split(".")[0]
    if place.section is None or head not in place.section.model_fields:
        return Problem(place.key, message, is_joint=True)
    value = place.value.get(head, MISSING) if isinstance(place.value, dict) else MISSING
    return Problem(f"{place.key}.{head}".lstrip("."), message, value, is_joint=True)


def _is_untried_domain(loc: Sequence[str | int], data: dict[str, Any]) -> bool:
    """Whether an error belongs to another kind of search domain than the one that was written."""
    if tuple(loc[:2]) != ("search", "space") or len(loc) < 5:
        return False
    value = data["search"]["space"][loc[2]]
    written = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
    return written in DOMAINS and str(loc[3]).lower() != written


def _leaf_rule(place: _Place, detail: Any) -> str:
    is_nested = isinstance(place.value, list | dict) and detail["type"] != "dict_type"
    if place.field is not None and is_mapping(place.field) and is_nested:
        return SCALARS
    if detail["type"] == "string_type" and isinstance(place.value, bool | int | float):
        return "must be text; quote it"
    words = _words_beside(place.field) if detail["type"] != "literal_error" else ()
    return ", or ".join([_plain_words(detail), *map(str, words)])


def _words_beside(field: FieldInfo | None) -> Sequence[object]:
    """What an option takes in place of its own kind of value: `auto`."""
    parts = get_args(field.annotation) if field is not None else ()
    return [word for part in parts if get_origin(part) is Literal for word in get_args(part)]


def _plain_words(detail: Any) -> str:
    rule = WORDS.get(detail["type"]) or str(detail["msg"])
    return rule.replace("Input should be", "must be").replace("String should", "must")


def _domain_rule(detail: Any, value: Any) -> str:
    """Pydantic tries every kind of domain; only the errors of the one that was written say anything."""
    written = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
    if written not in DOMAINS:
        return f"must be one of {', '.join(f'{{{name}: [...]}}' for name in DOMAINS)}"
    indices = "".join(f"[{step}]" for step in detail["loc"][4:] if isinstance(step, int))
    scalars = written in ("choice", "grid") and indices
    return f"{written}{indices} {SCALARS if scalars else _plain_words(detail)}"


def _plain_keys() -> list[str]:
    keys = (option.key for option in all_options())
    return list(dict.fromkeys("".join(part.split("<")[0] for part in key.split(">")) for key in keys))


def _shown(value: Any) -> str:
    if value is MISSING:
        return ""
    text = flow(value)
    return f" = {text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 3] + '...'}"
