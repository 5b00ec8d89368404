"""What tests share: a small random trunk, tasks, and a shard folder of drawn pictures."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from hlgp_dist.config.schema import Backbone
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec

TINY = Backbone(
    name="vit_tiny_patch16_224",
    weights="none",
    img_size=32,
    kwargs={"patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2},
)


@pytest.fixture(scope="session")
def trunk() -> Trunk:
    """Six blocks of width 32 at 32 px, fp32."""
    return build_trunk(TINY, precision="fp32", seed=0)[0]


@pytest.fixture(scope="session")
def tasks() -> tuple[TaskSpec, ...]:
    """Unequal tasks: 3, 2 and 1 classes."""
    return (TaskSpec(0, 0, ("a", "b", "c")), TaskSpec(1, 3, ("d", "e")), TaskSpec(2, 5, ("f",)))
