"""Fifty kills while shards are written: `python -m pytest -m soak -s tests/shards/test_soak_sharding.py`."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hlgp_dist.data.manifest import UNTOUCHED, Encoding
from hlgp_dist.shards.shard import shard
from hlgp_dist.shards.verify import verify

PICTURES = 600
SHARD_BYTES = 96 * 1024
KILLS = 25
SPAWN = multiprocessing.get_context("spawn")


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write(source: Path, folder: Path, encoding: Encoding) -> None:
    shard(source, folder, shard_bytes=SHARD_BYTES, encoding=encoding, workers=2)


def written_by_another(source: Path, folder: Path, encoding: Encoding, seconds: float | None = None) -> bool:
    """Whether a writing process was killed after so many seconds, at its work."""
    writer = SPAWN.Process(target=write, args=(source, folder, encoding))
    writer.start()
    writer.join(seconds)
    is_at_work = folder.with_name(f".{folder.name}.partial").exists()
    writer.kill()
    writer.join()
    return is_at_work and writer.exitcode == -signal.SIGKILL


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("encoding", [UNTOUCHED, Encoding(resize=40, quality=90)], ids=["untouched", "scaled"])
def test_kills_at_random_times(encoding: Encoding, tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    source, folder, random_ = tmp_path / "source", tmp_path / "out" / "shards", random.Random(4)
    for index in range(PICTURES):
        split, suffix = ("test", "train", "train")[index % 3], ("jpg", "png")[index % 2]
        write_picture(source / split / f"c{index % 7}" / f"{index}.{suffix}", seed=index, width=64, height=48)
    started = time.monotonic()
    written_by_another(source, tmp_path / "reference", encoding)
    whole = time.monotonic() - started
    reference, kills, finishes, kept = content(tmp_path / "reference"), 0, 0, 0
    while kills < KILLS:
        kills += written_by_another(source, folder, encoding, random_.uniform(0, whole))
        kept += len(list(folder.parent.glob(".shards.partial/records/*.npz")))
        assert not folder.exists() or content(folder) == reference
        if random_.random() < 0.3 or folder.exists() or kills == KILLS:
            write(source, folder, encoding)
            finishes += 1
            assert content(folder) == reference
            assert verify(folder) == []
            assert [*folder.parent.iterdir()] == [folder]
            shutil.rmtree(folder)
    print(f"{kills} kills, {kept} finished shards met, {finishes} times finished, the bytes equal; {whole:.1f} s a run")
