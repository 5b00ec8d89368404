"""What tests share: a small random trunk, tasks, and a shard folder of drawn pictures."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of two processes on the same cores wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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

ONE_BY_ONE = ("cluster", "launch", "study/test_study.py", "study/test_demo.py", "config/test_plugins.py")
"""Tests that start Rays, which find one another, or that kill and have deadlines: never two of them at a time."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: a file's tests stay together, and the longest group comes first."""
    here = Path(__file__).parent
    files = {item: item.path.relative_to(here).as_posix() for item in items}
    items.sort(key=lambda item: not files[item].startswith(ONE_BY_ONE))
    for item, file in files.items():
        item.add_marker(pytest.mark.xdist_group("one by one" if file.startswith(ONE_BY_ONE) else file))


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
