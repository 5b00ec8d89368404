"""Kill -9 of a process that fetches, at random moments: what a fresh one reads is right, and nothing grows."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import fetch_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.selection import select
from hlgp_dist.types import PictureSize, TaskSpec
from tests.faults import FaultyServer, late
from tests.jobs import evaluated, opened
from tests.objects import upload

KILLS = 50
PADDING = 6 * 2**20
"""Bytes of blanks behind the manifest, so that a fetch takes a while."""
TASK = TaskSpec(0, 0, ("ant", "bee", "cat", "dog", "eel"))
SIZE = PictureSize(8, 0.875, "bilinear")


def _fetch(environment: dict[str, str], url: str, folder: Path, begun: Any) -> None:
    os.environ.update(environment)
    open_place(url).facts("manifest.json")  # connected
    begun.set()
    _read_all(url, folder)


def _read_all(url: str, folder: Path) -> Manifest:
    """Manifest and shards, each byte checked; the decoded pictures lie in the folder afterwards."""
    manifest = fetch_manifest(url, cache=Cache(folder, None))
    place = open_place(url)
    for split in manifest.splits.values():
        for shard in split.shards:
            assert hashlib.sha256(place.read(shard.name)).hexdigest() == shard.sha256
    opened(url, select(manifest, TASK, "train", 0.0), SIZE, folder)
    return manifest


@pytest.fixture
def large(s3_port: int, shards: tuple[Path, Manifest], tmp_path: Path) -> str:
    """The shards behind a URL, with a manifest of several megabytes."""
    folder = shutil.copytree(shards[0], tmp_path / "large")
    content = (folder / "manifest.json").read_bytes() + b" " * PADDING
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    return upload(s3_port, folder, "large")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_kills_while_downloading(faulty: FaultyServer, large: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["hlgp_dist.data.library", "hlgp_dist.data.remote", "s3fs"])
    environment = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    folder, moments, reached = tmp_path / "cache", random.Random(4), {"none": 0, "partial": 0, "whole": 0}
    faulty.inject(always=late(0.005))
    began = time.monotonic()
    expected = _read_all(large, tmp_path / "measured")
    seconds = time.monotonic() - began
    training = select(expected, TASK, "train", 0.0)
    local = evaluated(opened(tmp_path / "large", training, SIZE, tmp_path / "local"))
    contents = set()
    for kill in range(KILLS):
        _forget(folder, "*" if kill % 5 == 0 else "copy-*.store")
        begun = spawn.Event()
        victim = spawn.Process(target=_fetch, args=(environment, large, folder, begun))
        victim.start()
        assert begun.wait(60)
        time.sleep(moments.uniform(0.0, seconds / 3))  # while it downloads, mostly
        victim.kill()
        victim.join()
        names = [file.name for file in folder.glob("*.store*")]
        reached["partial" if any(name.endswith(".partial") for name in names) else "whole" if names else "none"] += 1
        assert _read_all(large, folder).digest == expected.digest
        assert torch.equal(evaluated(opened(large, training, SIZE, folder)), local)
        contents.add(tuple(sorted((file.suffix, file.stat().st_size // 100) for file in folder.iterdir())))
    print(json.dumps(reached), f"whole: {seconds:.2f} s")
    assert len(contents) == 1, "what is in the cache depends on the kills"
    assert not list(folder.glob("*.partial"))
    assert reached["partial"] > 0


def _forget(folder: Path, names: str) -> None:
    """So that there is something to download."""
    for file in folder.glob(names):
        file.unlink()
