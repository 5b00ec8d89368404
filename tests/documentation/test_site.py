"""`make docs`: the site is made without a warning, and asks nothing of other servers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import DOCS

FETCHED = re.compile(
    r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "seen"]
    done = subprocess.run([*command, DOCS, folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_the_site_holds_every_page(site: Path) -> None:
    pages = {file.relative_to(DOCS).with_suffix(".html") for file in DOCS.rglob("*.md")}
    assert pages <= {file.relative_to(site) for file in site.rglob("*.html")}


def test_a_browser_fetches_nothing_from_elsewhere(site: Path) -> None:
    asked = [
        file.name for file in site.rglob("*") if file.suffix in (".html", ".css") and FETCHED.search(file.read_text())
    ]
    assert asked == []


def test_formulae_are_drawn_by_the_browser(site: Path) -> None:
    text = (site / "method.html").read_text()
    assert text.count("<math ") > 10
    assert "$" not in re.sub(r"<code.*?</code>|<pre.*?</pre>|<script.*?</script>", "", text, flags=re.DOTALL)
