"""Messages that the troubleshooting page explains are those that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.documentation.pages import DOCS, ROOT
from tests.documentation.templates import templates, texts

MESSAGE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def unheard_of(page: str, told: set[str]) -> list[str]:
    """Messages of a page that no text of the code holds."""
    return [message for message in MESSAGE.findall(page) if not any(message in text for text in told)]


def test_every_message_is_in_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    told = templates([*(ROOT / "hlgp_dist").rglob("*.py"), ROOT / "cluster" / "submit.py"])
    assert len(MESSAGE.findall(page)) > 60
    assert unheard_of(page, told) == []


def test_every_exit_code_has_a_section() -> None:
    from hlgp_dist.errors import FAILURES

    sections = {
        int(code) for code in re.findall(r"^## (\d+):", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    }
    assert sections == set(FAILURES)


def test_a_message_that_has_changed_is_found(tmp_path: Path) -> None:
    told = set(texts(ast.parse('raise ValueError(f"{key}: must be {1 + 1}, or " "none")\nx = "other"')))
    assert "…: must be …, or none" in told
    page = "| message | meaning |\n| `must be …, or none` | a |\n| `must be …, or all` | b |\n"
    assert unheard_of(page, told) == ["must be …, or all"]
