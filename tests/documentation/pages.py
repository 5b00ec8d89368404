"""The Markdown of the project: its files, headings, links and blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.reference.markdown import slug

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^(`{3,})(.*)$")


def markdown_files() -> list[Path]:
    """What people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """Code that stands on lines of its own.

    line: number of the first; language: of a fence, empty where there is none or it is indented.
    """

    line: int
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def blocks(text: str) -> Iterator[Block]:
    """Fenced blocks, and indented ones that follow an empty line outside of a list."""
    lines, at, is_list = text.splitlines(), 0, False
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if fence:
            end = next((row for row in range(at + 1, len(lines)) if lines[row].strip() == fence[1]), len(lines))
            yield Block(at + 2, fence[2].strip(), tuple(lines[at + 1 : end]))
            at = end + 1
        elif lines[at].startswith("    ") and not is_list and (at == 0 or not lines[at - 1].strip()):
            end = next(
                (row for row in range(at, len(lines)) if lines[row].strip() and lines[row][:4].strip()), len(lines)
            )
            yield Block(at + 1, "", tuple(line[4:] for line in lines[at:end]))
            at = end
        else:
            if lines[at].strip() and not lines[at].startswith(" "):
                is_list = bool(re.match(r"[-*] |\d+\. ", lines[at]))
            at += 1


def prose(text: str) -> str:
    """The text with the lines of its blocks emptied, so that numbers of lines stay."""
    lines = text.splitlines()
    for block in blocks(text):
        first = block.line - 1
        lines[first : first + len(block.lines)] = [""] * len(block.lines)
    return "\n".join("" if FENCE.match(line) else line for line in lines)


def inline_code(text: str) -> Iterator[tuple[int, str]]:
    """(line, content) of what stands in back quotes within prose."""
    for number, line in enumerate(prose(text).splitlines(), start=1):
        for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", line):
            yield number, found[1]


def anchors(text: str) -> list[str]:
    """Of the headings, as a forge makes them: a second one of the same words gets `-1`."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE):
        own = slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        number = sum(re.fullmatch(rf"{re.escape(own)}(-\d+)?", other) is not None for other in found)
        found.append(f"{own}-{number}" if number else own)
    return found


def links(text: str) -> Iterator[tuple[int, str]]:
    """(line, target) of every link and picture."""
    for number, line in enumerate(prose(text).splitlines(), start=1):
        for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            yield number, target
