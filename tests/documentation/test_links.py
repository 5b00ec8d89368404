"""Every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.documentation.pages import ROOT, anchors, inline_code, links, markdown_files

NAMED = re.compile(r"(?:configs|cluster|docker|docs|hlgp_dist|tests)/[a-z0-9_/.-]+")


def broken(file: Path, root: Path) -> list[str]:
    """Links to a file or heading that is not there; those into the network are not followed."""
    found = []
    for line, target in links(file.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        goal = (file.parent / path).resolve() if path else file
        if not goal.exists() or not goal.is_relative_to(root):
            found.append(f"{file.relative_to(root)}:{line}: {target}: no such file")
        elif anchor and anchor not in anchors(goal.read_text()):
            found.append(f"{file.relative_to(root)}:{line}: {target}: no such heading")
    return found


def test_links_lead_somewhere() -> None:
    assert [told for file in markdown_files() for told in broken(file, ROOT)] == []


def missing(file: Path) -> list[str]:
    """Files of the project that are named in a sentence and are not there."""
    named = ((line, code.rstrip("/")) for line, code in inline_code(file.read_text()) if NAMED.fullmatch(code))
    return [f"{file.relative_to(ROOT)}:{line}: {name}" for line, name in named if not (ROOT / name).exists()]


def test_files_that_are_named_are_there() -> None:
    assert [told for file in markdown_files() for told in missing(file)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b.c` d\n\n[1](page.md#a-bc-d) [2](#a-bc-d-1) [3](gone.md) [4](#elsewhere) `[5](code.md)`\n"
        "\n## A b.c d\n\n    [6](block.md)\n\n```\n[7](block.md)\n```\n[8](https://example.org/)\n"
    )
    assert broken(page, tmp_path) == ["page.md:3: gone.md: no such file", "page.md:3: #elsewhere: no such heading"]
