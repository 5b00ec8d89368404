"""Tiny pictures, and a shard folder made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.shard import shard

COUNTS = {"ant": 12, "bee": 5, "cat": 9, "dog": 2, "eel": 7}
TEST_PICTURES = 3
SHARD_BYTES = 24 * 1024

WritePicture = Callable[..., Path]


def _write_picture(path: Path, *, seed: int = 0, width: int = 20, height: int = 14) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG")
    return path


@pytest.fixture(scope="session")
def write_picture() -> WritePicture:
    return _write_picture


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five uneven classes, JPEG and PNG, with names that need care."""
    root, seed = tmp_path_factory.mktemp("pictures"), 0
    for class_name, count in COUNTS.items():
        for split, number in (("train", count), ("test", TEST_PICTURES)):
            for index in range(number):
                suffix = (".jpg", ".png", ".JPEG")[index % 3]
                seed += 1
                _write_picture(root / split / class_name / f"photo.{index} ü{suffix}", seed=seed, width=14 + index)
    return root


@pytest.fixture(scope="session")
def shards(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The sharded folder of `pictures`, several shards a split. Read only."""
    folder = tmp_path_factory.mktemp("sharded") / "shards"
    return folder, shard(pictures, folder, shard_bytes=SHARD_BYTES)
