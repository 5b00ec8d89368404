"""Tiny pictures, and a shard folder made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data.manifest import Manifest
from hlgp_dist.shards.manifest_files import digest_line
from hlgp_dist.shards.shard import shard
from tests.faults import FaultyServer, forwarded, from_folder, serving
from tests.objects import ENVIRONMENT, s3_server, upload

COUNTS = {"ant": 12, "bee": 5, "cat": 9, "dog": 2, "eel": 7}
TEST_PICTURES = 3
SHARD_BYTES = 24 * 1024

WritePicture = Callable[..., Path]


def _write_picture(path: Path, *, seed: int = 0, width: int = 20, height: int = 14) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG")
    return path


def write_checked(folder: Path, manifest: str) -> None:
    """Another manifest, and its checksum."""
    (folder / "manifest.json").write_text(manifest)
    (folder / "manifest.sha256").write_bytes(digest_line(hashlib.sha256(manifest.encode()).hexdigest()))


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


@pytest.fixture(scope="session")
def s3_port(shards: tuple[Path, Manifest]) -> Iterator[int]:
    """Of a real S3-protocol server that holds `shards` under `one/`."""
    with s3_server() as port:
        upload(port, shards[0], "one")
        yield port


@pytest.fixture(scope="session")
def before_s3(s3_port: int) -> Iterator[FaultyServer]:
    """In front of that server. One for all tests: every other address is another client, and they are slow to make."""
    with serving(FaultyServer(partial(forwarded, s3_port))) as server:
        yield server


@pytest.fixture
def faulty(before_s3: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> FaultyServer:
    """As before, without faults; the environment leads there."""
    before_s3.inject()
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": before_s3.url}).items():
        monkeypatch.setenv(name, value)
    return before_s3


@pytest.fixture
def web(shards: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A static file server of the folder that `shards` lies in."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(FaultyServer(partial(from_folder, shards[0].parent))) as server:
        yield server
