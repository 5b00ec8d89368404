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

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.manifest import Manifest, parse_manifest
from hlgp_dist.data.place import open_place
from hlgp_dist.data.selection import select
from hlgp_dist.data.store import open_store
from hlgp_dist.types import PictureSize, TaskSpec
from tests.faults import FaultyServer, late
from tests.objects import upload

KILLS = 50
PADDING = 6 * 2**20
"""Bytes of blanks behind the manifest, so that a fetch takes a while."""
TASK = TaskSpec(0, 0, ("ant", "bee", "cat", "dog", "eel"))
SIZE = PictureSize(8, 0.875, "bilinear")


def _fetch(environment: dict[str, str], url: str, folder: Path, begun: Any) -> None:
    os.environ.update(environment)
    open_place(url).size("manifest.json")  # connected
    begun.set()
    manifest = parse_manifest(url, cache=Cache(folder, None))
    place = open_place(url)
    for split in manifest.splits.values():
        for shard in split.shards:
            assert hashlib.sha256(place.read(shard.name)).hexdigest() == shard.sha256
    open_store(url, manifest, select(manifest, TASK, "train", 0.0), SIZE, cache_dir=folder)


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
    spawn.set_forkserver_preload(["hlgp_dist.data.store", "hlgp_dist.data.remote", "s3fs"])
    environment = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    folder, moments, reached = tmp_path / "cache", random.Random(4), {"none": 0, "partial": 0, "whole": 0}
    faulty.inject(always=late(0.005))
    expected = parse_manifest(large)
    whole_time = _measured(large, tmp_path / "measured")
    sizes = set()
    for kill in range(KILLS):
        if kill % 5 == 0:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _forget_copies(folder)
        begun = spawn.Event()
        victim = spawn.Process(target=_fetch, args=(environment, large, folder, begun))
        victim.start()
        assert begun.wait(60)
        time.sleep(moments.uniform(0.0, whole_time))
        victim.kill()
        victim.join()
        names = [file.name for file in folder.glob("*")] if folder.exists() else []
        state = "partial" if any(n.endswith(".partial") for n in names) else "whole" if names else "none"
        reached[state] += 1
        found = parse_manifest(large, cache=Cache(folder, None))
        assert found.digest == expected.digest
        store = open_store(large, found, select(found, TASK, "train", 0.0), SIZE, cache_dir=folder)
        local = open_store(
            tmp_path / "large", found, select(found, TASK, "train", 0.0), SIZE, cache_dir=tmp_path / "local"
        )
        assert (store.images == local.images).all()
        sizes.add(tuple(sorted((file.suffix, file.stat().st_size // 100) for file in folder.glob("*"))))
    print(json.dumps(reached), f"whole: {whole_time:.2f} s")
    assert len(sizes) == 1, "the cache's content depends on the kills"
    assert not list(folder.glob("*.partial"))
    assert reached["partial"] > 0


def _forget_copies(folder: Path) -> None:
    """So that there is something to download; what the last victim left otherwise stays."""
    for file in folder.glob("*"):
        if file.suffix in (".store", ".npy", ".json"):
            file.unlink()


def _measured(url: str, folder: Path) -> float:
    began = time.monotonic()
    manifest = parse_manifest(url, cache=Cache(folder, None))
    place = open_place(url)
    for split in manifest.splits.values():
        for shard in split.shards:
            place.read(shard.name)
    open_store(url, manifest, select(manifest, TASK, "train", 0.0), SIZE, cache_dir=folder)
    return time.monotonic() - began
