"""Watching local ranks: none that fails is missed."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from hlgp_dist.errors import Failure
from hlgp_dist.launch.local import _watch
from hlgp_dist.train.folder import RunFolder


def test_a_rank_that_fails_is_never_missed(tmp_path: Path) -> None:
    """Ranks end at any moment, between two looks at the same list too."""
    fork = multiprocessing.get_context("fork")
    for _ in range(60):
        ranks = [fork.Process(target=os._exit, args=(3,)) for _ in range(2)]
        for rank in ranks:
            rank.start()
        with pytest.raises(Failure, match="ended with exit code 3"):
            _watch(ranks, RunFolder(tmp_path))  # type: ignore[arg-type]
