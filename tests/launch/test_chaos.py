"""Searches that are killed, and that are long: `python -m pytest -m soak -s tests/launch/test_chaos.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.isolated import run_isolated, why_not

SECONDS = 3600
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 60)]


@pytest.fixture(autouse=True)
def isolated() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_whose_processes_are_killed_ends_as_one_left_in_peace(seed: int, drawn: Path, tmp_path: Path) -> None:
    assert run_isolated("tests.launch.chaos", drawn, tmp_path, seed, seconds=SECONDS) == 0


def test_forty_trials_leave_nothing_in_memory(drawn: Path, tmp_path: Path) -> None:
    assert run_isolated("tests.launch.steady", drawn, tmp_path, seconds=SECONDS) == 0
