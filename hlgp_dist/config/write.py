"""A configuration as YAML: in full for a run folder, or with each value's origin for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.load import Resolved
from hlgp_dist.config.options import is_mapping
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.section import Section

COMMENT_COLUMN = 64


@dataclass(frozen=True)
class _Line:
    """`key` is the dotted key of a leaf, None for the head of a section."""

    text: str
    key: str | None = None


def dump(config: RunConfig) -> str:
    """Every value, defaults included; `resolve` reads it back to an equal configuration."""
    return "".join(f"{line.text}\n" for line in _lines(config))


def render(resolved: Resolved) -> str:
    """`dump` with the origin of each value as a comment, and the notes of the merge above."""
    lines = list(_lines(resolved.config))
    widths = [len(line.text) for line in lines if line.key is not None and len(line.text) < COMMENT_COLUMN]
    column = max(widths, default=0) + 2
    notes = "".join(f"# note: {note}\n" for note in resolved.notes)
    return notes + "".join(f"{_commented(line, resolved.origins, column)}\n" for line in lines)


def _commented(line: _Line, origins: dict[str, str], column: int) -> str:
    if line.key is None:
        return line.text
    origin = origins.get(line.key, "default")
    return f"{line.text:<{column - 2}}  # {origin}"


def _lines(section: Section, prefix: str = "", indent: str = "") -> Iterator[_Line]:
    """The section's lines in the schema's order, a `kind` before what depends on it."""
    plain = section.model_dump(mode="json")
    for name, field in sorted(type(section).model_fields.items(), key=lambda item: item[0] != "kind"):
        key, value = f"{prefix}{name}", getattr(section, name)
        if isinstance(value, Section):
            inner = list(_lines(value, f"{key}.", f"{indent}  "))
            yield _Line(f"{indent}{name}:") if inner else _Line(f"{indent}{name}: {{}}", key)
            yield from inner
        elif is_mapping(field) and value:
            yield _Line(f"{indent}{name}:")
            for entry, item in plain[name].items():
                yield _Line(f"{indent}  {flow(entry)}: {flow(item)}", f"{key}.{entry}")
        else:
            yield _Line(f"{indent}{name}: {flow(plain[name])}", key)
