"""The schema as data: its sections, kinds, roles and every option by its dotted key."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hlgp_dist.config.plugins import plugin_options
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.section import Section

Role = Literal["identity", "operational"]
SectionType = type[Section]


@dataclass(frozen=True)
class Option:
    """One leaf of the schema. In `key` a chosen kind stands in angle brackets: `method<hlgp>.num_groups`."""

    key: str
    default: Any
    required: bool
    role: Role


def sections(annotation: Any) -> tuple[SectionType, ...]:
    """The sections an annotation allows; empty for a leaf or a mapping."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Section) else ()
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return tuple(section for part in get_args(annotation) for section in sections(part))
    return sections(get_args(annotation)[0]) if origin is Annotated else ()


def is_mapping(field: FieldInfo) -> bool:
    """Whether the field's keys are free text (`backbone.kwargs`, `search.space`)."""
    return get_origin(field.annotation) is dict


def named_levels(field: FieldInfo) -> int:
    """Of names within names before the free keys of a mapping: an axis and a choice (`study.axes`), a cell."""
    levels, inner = -1, field.annotation
    while get_origin(inner) is dict:
        levels, inner = levels + 1, get_args(inner)[1]
    return levels


def is_text(field: FieldInfo) -> bool:
    """Whether nothing but text (or null) fits."""
    parts = get_args(field.annotation) or (field.annotation,)
    return set(parts) <= {str, type(None)}


def is_nullable(field: FieldInfo) -> bool:
    """Whether null fits."""
    return type(None) in get_args(field.annotation)


def kinds(field: FieldInfo) -> dict[str, SectionType]:
    """The choices of a tagged union by their tag; empty for anything else."""
    if field.discriminator is None:
        return {}
    return {str(tag_of(choice)): choice for choice in sections(field.annotation)}


def tag_of(section: SectionType) -> str | None:
    """The one value of the section's `kind`; None for a section outside any tagged union."""
    field = section.model_fields.get("kind")
    tags = get_args(field.annotation) if field is not None else ()
    return tags[0] if len(tags) == 1 else None


def default_kind(field: FieldInfo) -> str | None:
    """The tag of a tagged union's default, or of what a field that has none is taken for; None where it has to be
    given."""
    if not kinds(field):
        return None
    extra = field.json_schema_extra
    told = extra.get("default_kind") if isinstance(extra, dict) else None
    return str(told) if told is not None else getattr(field.default, "kind", None)


def section_of(field: FieldInfo, value: Any) -> SectionType | None:
    """The section that `value` (plain data) chooses, by its kind or the default's; None for a leaf or unknown kind."""
    if kinds(field):
        given = value.get("kind") if isinstance(value, dict) else None
        return section_of_kind(field, str(default_kind(field) if given is None else given))
    choices = sections(field.annotation)
    return choices[0] if choices else None


def section_of_kind(field: FieldInfo, kind: str) -> SectionType | None:
    """The choice of a tagged union that `kind` names, of a plug-in where the union is open to them."""
    builtin = kinds(field).get(kind)
    return plugin_options(kind) if builtin is None and takes_plugins(field) else builtin


def takes_plugins(field: FieldInfo) -> bool:
    """Whether other packages may add kinds."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("plugins"))


def field_at(path: tuple[str, ...], data: Mapping[str, Any]) -> FieldInfo | None:
    """The field at a path under the kinds that `data` (nested plain values) chooses; None where there is none."""
    section: SectionType | None = RunConfig
    field, value = None, data
    for name in path:
        field = section.model_fields.get(name) if section is not None else None
        if field is None:
            return None
        value = value.get(name, {}) if isinstance(value, Mapping) else {}
        section = section_of(field, value)
    return field


def role_of(field: FieldInfo, inherited: Role) -> Role:
    """Operational where the field says so or lies in an operational section."""
    extra = field.json_schema_extra
    operational = isinstance(extra, dict) and extra.get("role") == "operational"
    return "operational" if operational else inherited


def all_options(section: SectionType = RunConfig, prefix: str = "", role: Role = "identity") -> Iterator[Option]:
    """Every option of every kind, in the schema's order."""
    for name, field in section.model_fields.items():
        key, own = f"{prefix}{name}", role_of(field, role)
        tagged = kinds(field)
        choices = list(tagged.items()) or [("", choice) for choice in sections(field.annotation)]
        if tagged:
            yield Option(f"{key}.kind", default_kind(field), default_kind(field) is None, own)
        elif not choices or is_nullable(field):
            required = field.is_required()
            yield Option(key, None if required else field.get_default(call_default_factory=True), required, own)
        for tag, choice in choices:
            inner = f"{key}<{tag}>." if tag else f"{key}."
            yield from (
                option for option in all_options(choice, inner, own) if not (tag and option.key == f"{inner}kind")
            )


def leaf_values(config: Section, prefix: str = "", role: Role = "identity") -> Iterator[tuple[str, Any, Role]]:
    """(dotted key, plain value, role) of every leaf of a configuration; a free mapping gives one leaf an entry."""
    plain = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        key, own, value = f"{prefix}{name}", role_of(field, role), getattr(config, name)
        if isinstance(value, Section):
            yield from leaf_values(value, f"{key}.", own)
        elif is_mapping(field):
            yield from ((f"{key}.{entry}", inner, own) for entry, inner in plain[name].items())
        else:
            yield key, plain[name], own
