"""Markdown as a forge and Sphinx both read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars in cells are kept from ending them."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it: lower case, blanks as hyphens, no other sign but `_`."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def number(value: float) -> str:
    """A bound: 0.0 is 0."""
    return str(int(value) if value == int(value) else value)


def code(text: str) -> str:
    """In back quotes."""
    return f"`{text}`"


def paragraph(docstring: str | None) -> str:
    """A docstring as one line, in which pages of docs/ are links."""
    line = " ".join((docstring or "").split())
    return re.sub(r"docs/(\w+)\.md", r"[docs/\1.md](../\1.md)", line)
