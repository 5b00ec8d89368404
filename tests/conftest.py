"""What tests share: a small random trunk, tasks, and a shard folder of drawn pictures."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from hlgp_dist.contract.rehearsal import TASKS, TINY
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.shards.shard import shard
from hlgp_dist.types import TaskSpec
from tests.jobs import draw_pictures
from tests.ranks import Ranks

pytest_plugins = ["tests.sharded"]
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

CLUSTERS = ("tests/launch/", "tests/cluster/", "tests/study/test_study.py", "tests/study/test_interrupted_report.py")
"""Whose tests start Ray, which finds any other Ray of its machine: side by side they would meet."""


class SideBySide(LoadScopeScheduling):
    """Files, whose tests share what they set up, and all clusters after one another.

    Not by `xdist_group` marks: pytest 9.2 no longer reads the name under which pytest-xdist 3.8 hides them, and without
    a word deals each test alone.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith(CLUSTERS) else nodeid.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Of processes side by side each has one thread: threads on one core wait for each other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SideBySide:
    """What `-n` deals to the processes."""
    return SideBySide(config, log)


@pytest.fixture(scope="session")
def trunk() -> Trunk:
    """Six blocks of width 32 at 32 px, fp32."""
    return build_trunk(TINY, precision="fp32", seed=0)[0]


@pytest.fixture(scope="session")
def tasks() -> tuple[TaskSpec, ...]:
    """Unequal tasks: 3, 2 and 1 classes."""
    return TASKS


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn pictures of `jobs`, sharded. Read only."""
    folder = tmp_path_factory.mktemp("drawn")
    shard(draw_pictures(folder / "pictures"), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """Two processes that tests run their ranks in."""
    processes = Ranks(2)
    yield processes
    processes.close()
