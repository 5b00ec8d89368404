"""The configuration reference, made of the schema: types and defaults of its fields, meanings of its docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from docs.reference.markdown import code, number, paragraph, slug, table
from hlgp_dist.config.grammar import flow
from hlgp_dist.config.options import (
    Role,
    SectionType,
    default_kind,
    is_mapping,
    is_nullable,
    kinds,
    role_of,
    sections,
    takes_plugins,
)
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import Domain
from hlgp_dist.config.section import Section

HEAD = """# Configuration

Every option of `hlgp_dist/config`, with its default. A YAML file holds what differs; `key=value` on the command line
overrides it (`method.num_groups=4`), and `hlgp config CONFIG` shows every value and where it came from.

A section with several kinds takes the options of the one that its `kind` names. The role says whether a value may
change a result: where a run is resumed an *identity* option must be what it was, an *operational* one may be another.

This page is made of the schema by `python -m docs.reference.write`.
"""

NAMES = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Block:
    """One table: a section, or one kind of it."""

    title: str
    key: str
    section: SectionType
    role: Role


ROOT = Block("Sections", "", RunConfig, "identity")


def page() -> str:
    """The whole of it."""
    homes = _homes()
    titles = {section: block.title for section, block in homes.items()}
    return HEAD + "".join(_text(block, titles) for block in dict.fromkeys(_below(ROOT, homes)))


def _homes() -> dict[SectionType, Block]:
    """Where each section is told of: of several keys the one that lies least deep."""
    found: dict[SectionType, Block] = {}
    blocks = [ROOT]
    while blocks:
        for block in blocks:
            found.setdefault(block.section, block)
        blocks = [inner for block in blocks if found[block.section] == block for inner in _inner(block)]
    return found


def _below(block: Block, homes: dict[SectionType, Block]) -> Iterator[Block]:
    """The block and what lies in it, in the schema's order."""
    if homes[block.section] == block:
        yield block
        for inner in _inner(block):
            yield from _below(inner, homes)


def _inner(block: Block) -> Iterator[Block]:
    for name, field in block.section.model_fields.items():
        key, role = f"{block.key}.{name}".lstrip("."), role_of(field, block.role)
        for tag, section in kinds(field).items():
            yield Block(f"{key}.kind: {tag}", key, section, role)
        if not kinds(field) and not is_mapping(field):
            yield from (Block(key, key, section, role) for section in sections(field.annotation))


def _text(block: Block, titles: dict[SectionType, str]) -> str:
    told = meanings(block.section)
    rows = [
        [
            code(f"{block.key}.{name}".lstrip(".")),
            *_cells(field, titles),
            role_of(field, block.role),
            told.get(name, ""),
        ]
        for name, field in block.section.model_fields.items()
        if name != "kind" or not _is_tag(field)
    ]
    listed = table(["key", "type", "default", "role", "meaning"], rows) if rows else "No options.\n"
    return f"\n## {block.title}\n\n{summary(block.section)}\n\n{listed}"


def _is_tag(field: FieldInfo) -> bool:
    """Whether the field is what tells the kinds of a union apart."""
    return "const" in json_schema_of(field)


def _cells(field: FieldInfo, titles: dict[SectionType, str]) -> tuple[str, str]:
    """Type and default."""
    tagged = kinds(field)
    if tagged:
        links = [_link(tag, titles[section]) for tag, section in tagged.items()]
        others = ", or a plug-in's" if takes_plugins(field) else ""
        chosen = default_kind(field)
        return f"section, kind {', '.join(links)}{others}", code(chosen) if chosen else "required"
    inner = () if is_mapping(field) else sections(field.annotation)
    if inner:
        null = " or `null`" if is_nullable(field) else ""
        return f"section {_link('its options', titles[inner[0]])}{null}", _default(field)
    return words(json_schema_of(field)), _default(field)


def _link(text: str, title: str) -> str:
    return f"[{text}](#{slug(title)})"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "its defaults"
    return code(flow(list(value) if isinstance(value, tuple) else value))


def json_schema_of(field: FieldInfo) -> dict[str, Any]:
    if is_mapping(field) and Domain in getattr(field.annotation, "__args__", ()):
        return {"domains": [next(iter(domain.model_fields)) for domain in sections(Domain)]}
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation).json_schema()


def words(schema: dict[str, Any]) -> str:
    """A JSON schema's type in a few words."""
    if "domains" in schema:
        return "mapping of keys to " + ", ".join(code(f"{{{name}: [...]}}") for name in schema["domains"])
    if "anyOf" in schema:
        return " or ".join(words(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(code(flow(value)) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "null":
        return "`null`"
    if schema.get("type") == "array":
        return _list_words(schema)
    if schema.get("type") == "object":
        return "mapping"
    bounds = [f"{sign} {number(schema[name])}" for name, sign in BOUNDS.items() if name in schema]
    pattern = [f"of the form {code(schema['pattern'])}"] if "pattern" in schema else []
    return ", ".join([" ".join([NAMES[schema["type"]], *bounds[:1]]), *bounds[1:], *pattern])


def _list_words(schema: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}, each {words(schema['prefixItems'][0])}"
    least = f", at least {schema['minItems']}" if "minItems" in schema else ""
    return f"list of {words(schema['items'])}{least}"


def summary(section: SectionType) -> str:
    """What its docstring says before it comes to single fields."""
    text = paragraph(getdoc(section))
    first = next(_clauses(section, text), None)
    return text if first is None else text[: first.start()].strip()


def meanings(section: SectionType) -> dict[str, str]:
    """What the docstrings of a section and its bases say of each field: clauses `name: text`."""
    found: dict[str, str] = {}
    for base in section.__mro__:
        text = paragraph(base.__dict__.get("__doc__"))
        clauses = list(_clauses(section, text)) if issubclass(base, Section) else []
        ends = [clause.start() for clause in clauses[1:]]
        for clause, end in zip(clauses, [*ends, len(text)], strict=False):
            names = re.split(", | and ", clause["names"])
            told = text[clause.end() : end].strip().rstrip(";.")
            for name in names:
                aside = f"{clause['aside']} " if clause["aside"] and name == names[-1] else ""
                found.setdefault(name, aside + told)
    return found


def _clauses(section: SectionType, text: str) -> Iterator[re.Match[str]]:
    name = "|".join(sorted(section.model_fields, key=len, reverse=True))
    names = rf"(?P<names>(?:{name})(?:(?:, | and )(?:{name}))*)"
    return re.finditer(rf"(?:^|(?<=[.;:] )){names}(?: (?P<aside>\([^)]*\)))?: ", text)
