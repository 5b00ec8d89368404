"""One self-contained HTML file: no network, no script; light or dark as the reader's system is, fit for printing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from jinja2 import DictLoader, Environment, StrictUndefined

from hlgp_dist.study.reporting.style import Drawing
from hlgp_dist.terminal import Grid


@dataclass(frozen=True)
class Block:
    """A piece of a section. `text` is a figure's caption, a list's lines, a code's lines or a folded part's title;
    `name` and `drawing` are a figure's; is_timed: another run of the same need not repeat it, seconds and what follows.
    """

    kind: Literal["text", "list", "grid", "figure", "code", "folded"]
    text: str | Sequence[str] = ""
    grid: Grid | None = None
    name: str = ""
    drawing: Drawing | None = None
    blocks: Sequence[Block] = ()
    is_timed: bool = False
    marks: frozenset[tuple[int, int]] = frozenset()
    """Cells of the grid in bold, by row and column."""


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


def text(line: str, *, is_timed: bool = False) -> Block:
    return Block("text", line, is_timed=is_timed)


def listed(lines: Sequence[str]) -> Block:
    return Block("list", lines)


def table(grid: Grid, *, is_timed: bool = False, marks: frozenset[tuple[int, int]] = frozenset()) -> Block:
    return Block("grid", grid=grid, is_timed=is_timed, marks=marks)


def code(lines: str) -> Block:
    return Block("code", lines)


def folded(title: str, blocks: Sequence[Block]) -> Block:
    """Closed until it is asked for."""
    return Block("folded", title, blocks=blocks)


def all_blocks(sections: Sequence[Section]) -> Iterator[Block]:
    """In the order of the page, those within folded ones too."""
    for section in sections:
        yield from _within(section.blocks)


def _within(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        yield from _within(block.blocks)
