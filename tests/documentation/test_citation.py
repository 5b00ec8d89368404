"""The version stands in three files."""

from __future__ import annotations

import re

import yaml

from hlgp_dist import __version__
from tests.documentation.pages import ROOT


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["cff-version"], str(cited["version"]), cited["license"]) == ("1.2.0", __version__, "Apache-2.0")
    assert all(reference["authors"] and reference["title"] for reference in [cited, *cited["references"]])


def test_the_changelog_begins_with_this_version() -> None:
    assert re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == __version__
