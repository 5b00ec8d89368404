"""One self-contained HTML file: no network, no script; light or dark as the reader's system is, fit for printing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from jinja2 import DictLoader, Environment, StrictUndefined

from hlgp_dist.study.reporting.style import Drawing
from hlgp_dist.terminal import Grid


@dataclass(frozen=True)
class Paragraph:
    """is_timed, here and below: another run of the same need not repeat it, seconds and what follows from them."""

    kind: ClassVar[str] = "paragraph"
    text: str
    is_timed: bool = False


@dataclass(frozen=True)
class Listing:
    kind: ClassVar[str] = "listing"
    is_timed: ClassVar[bool] = False
    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    kind: ClassVar[str] = "code"
    is_timed: ClassVar[bool] = False
    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """marks: cells in bold, by row and column."""

    kind: ClassVar[str] = "table"
    grid: Grid
    is_timed: bool = False
    marks: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Picture:
    """name: of its files."""

    kind: ClassVar[str] = "picture"
    name: str
    caption: str
    drawing: Drawing
    is_timed: bool = False


@dataclass(frozen=True)
class Folded:
    """Closed until it is asked for."""

    kind: ClassVar[str] = "folded"
    is_timed: ClassVar[bool] = False
    title: str
    blocks: Sequence[Block]


Block = Paragraph | Listing | Code | Table | Picture | Folded
"""A piece of a section; the page's template shows it by its kind."""


@dataclass(frozen=True)
class Section:
    """`question`: what a reader comes to it with."""

    title: str
    question: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def render(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page."""
    template = files("hlgp_dist.study.reporting").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"page": template}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page").render(title=title, lead=lead, sections=sections)


def all_blocks(sections: Sequence[Section]) -> Iterator[Block]:
    """In the order of the page, those within folded ones too."""
    for section in sections:
        yield from _within(section.blocks)


def _within(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from _within(block.blocks)
