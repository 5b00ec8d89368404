"""A cluster that loses a node in the midst of a search and gets no other: the search ends, or goes on with less."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.isolated import run_isolated, why_not

SECONDS = 900
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 60)]


@pytest.mark.parametrize("elastic", ["false", "true"])
def test_a_search_on_too_few_workers_ends_or_goes_on_with_them(elastic: str, drawn: Path, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    assert run_isolated("tests.launch.shrunk", drawn, tmp_path, elastic, seconds=SECONDS) == 0
