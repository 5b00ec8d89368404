"""Processes for ZeRO 3."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ranks import Ranks


@pytest.fixture(scope="module")
def own_ranks() -> Iterator[Ranks]:
    """Of one module alone: under ZeRO 3 a process numbers its parameters, and ranks must agree on the numbers."""
    processes = Ranks(2)
    yield processes
    processes.close()
