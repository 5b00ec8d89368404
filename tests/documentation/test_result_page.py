"""docs/reference/result.md names the keys that results have."""

from __future__ import annotations

import re
from pathlib import Path

from tests.documentation.pages import DOCS
from tests.jobs import job
from tests.results import EVEN, result_of


def test_the_page_names_every_key_of_a_run(tmp_path: Path) -> None:
    page = (DOCS / "reference" / "result.md").read_text()
    table = page.partition("## result.json of a run")[2].partition("\n## ")[0]
    named = {key for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall("`(.*?)`", cell)}
    assert named == set(result_of(job(tmp_path, tmp_path), EVEN))
