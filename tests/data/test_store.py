from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data import source
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.picture import Form, as_evaluated, to_array
from hlgp_dist.data.place import open_place
from hlgp_dist.data.selection import Selection, select
from hlgp_dist.data.source import RangeSource, merged_runs
from hlgp_dist.data.store import Store, default_cache_dir, open_store
from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.types import PictureSize, TaskSpec

FORK = multiprocessing.get_context("fork")
SIZE = PictureSize(8, 0.875, "bilinear")
TASK = TaskSpec(1, 4, ("eel", "bee"))


@pytest.fixture
def selection(shards: tuple[Path, Manifest]) -> Selection:
    return select(shards[1], TASK, "train", 0.0)


def opened(shards: tuple[Path, Manifest], selection: Selection, cache: Path, **options: Any) -> Store:
    return open_store(*shards, selection, SIZE, cache_dir=cache, **options)


def slow_to_array(picture: Image.Image, size: PictureSize, form: Form) -> np.ndarray:
    time.sleep(0.05)
    return to_array(picture, size, form)


def test_pixels_and_labels_are_those_of_the_source_pictures(
    pictures: Path, shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path
) -> None:
    store = opened(shards, selection, tmp_path)
    expected = [
        as_evaluated(to_array(Image.open(file), SIZE, "scaled"), SIZE, "scaled").transpose(2, 0, 1)
        for class_name in sorted(TASK.classes)
        for file in sorted((pictures / "train" / class_name).iterdir())
    ]
    assert np.array_equal(store.images, expected)
    assert store.labels.tolist() == [5] * 5 + [4] * 7
    assert (store.images.dtype, store.labels.dtype, len(store)) == (np.uint8, np.int64, 12)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


def test_no_byte_of_another_class_is_read(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    manifest = shards[1]
    for fraction, part in ((0.0, "train"), (0.0, "test"), (0.4, "train"), (0.4, "validation")):
        selection = select(manifest, TASK, part, fraction)  # type: ignore[arg-type]
        store = opened(shards, selection, tmp_path)
        classes = manifest.splits[selection.split]
        of_classes = classes.size[np.isin(classes.class_index, [1, 4])].sum()
        assert store.bytes_read == selection.bytes <= of_classes
        assert store.decoded == len(selection)


def test_neighbours_are_read_together(shards: tuple[Path, Manifest], selection: Selection) -> None:
    split = shards[1].splits["train"]
    runs = merged_runs(split, selection.indices)
    assert np.array_equal(np.concatenate(runs), selection.indices)
    assert len(runs) <= len(TASK.classes) + len(split.shards) - 1


def test_the_second_opening_reads_nothing_and_other_orders_share(
    shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path
) -> None:
    first, second = opened(shards, selection, tmp_path, workers=1), opened(shards, selection, tmp_path)
    assert (first.built, second.built) == (True, False)
    assert (first.bytes_read, first.seconds) == (second.bytes_read, second.seconds)
    turned = select(shards[1], TaskSpec(0, 0, TASK.classes[::-1]), "train", 0.0)
    third = opened(shards, turned, tmp_path)
    assert not third.built
    assert third.labels.tolist() == [0] * 5 + [1] * 7
    other = open_store(*shards, selection, PictureSize(9, 0.875, "bilinear"), cache_dir=tmp_path)
    assert other.built


def test_processes_build_once(shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path) -> None:
    def rank(number: int) -> None:
        source.to_array = slow_to_array  # type: ignore[assignment]
        store = opened(shards, selection, tmp_path / "cache", workers=1)
        result = {"built": store.built, "decoded": store.decoded, "sum": int(store.images.sum())}
        (tmp_path / f"{number}.json").write_text(json.dumps(result))

    ranks = [FORK.Process(target=rank, args=(number,)) for number in range(4)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    results = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(4)]
    assert sum(result["built"] for result in results) == 1
    assert {(result["decoded"], result["sum"]) for result in results} == {(12, results[0]["sum"])}
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_a_kill_while_building_is_no_obstacle(
    shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(source, "to_array", slow_to_array)
        victim = FORK.Process(target=opened, args=(shards, selection, tmp_path), kwargs={"workers": 1})
        victim.start()
        while not list(tmp_path.glob("*.partial")):
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
    assert list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.npy"))
    store = opened(shards, selection, tmp_path)
    assert store.built
    assert all(image.any() for image in store.images)
    assert not list(tmp_path.glob("*.partial"))


def test_a_bad_sample_is_named_and_no_store_is_left(
    shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path
) -> None:
    folder, manifest = shutil.copytree(shards[0], tmp_path / "copy"), shards[1]
    split = manifest.splits["train"]
    index = selection.indices[3]
    shard, key = split.shards[split.shard[index]].name, split.key[index].decode()
    with (folder / shard).open("r+b") as stream:
        stream.seek(split.offset[index] + 512)
        stream.write(bytes(100))
    with pytest.raises(DataError, match=f"{shard}: sample {key}: its bytes have the checksum"):
        opened((folder, manifest), selection, tmp_path / "cache")
    with (folder / shard).open("r+b") as stream:
        stream.seek(split.offset[index])
        stream.write(b"x" * 512)
    with pytest.raises(DataError, match=f"{shard}: sample {key}: its bytes"):
        opened((folder, manifest), selection, tmp_path / "cache")
    (folder / shard).write_bytes(b"")
    with pytest.raises(DataError, match=f"{shard}: truncated"):
        opened((folder, manifest), selection, tmp_path / "cache")
    (folder / shard).unlink()
    with pytest.raises(DataError, match=f"{shard}: cannot be read"):
        opened((folder, manifest), selection, tmp_path / "cache")
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".lock"}


def test_the_source_checks_the_label(shards: tuple[Path, Manifest]) -> None:
    folder, manifest = shards
    wrong = manifest.splits["train"]
    wrong = type(wrong)(**{**vars(wrong), "class_index": wrong.class_index + 1})
    with pytest.raises(DataError, match="its label is 0"):
        next(RangeSource(open_place(folder), wrong, np.array([0]))())


def test_a_full_disk_is_an_environment_failure(
    shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EnvironmentFailure, match=r"data\.cache_dir="):
        opened(shards, selection, tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".lock"}


def test_a_damaged_store_is_named(shards: tuple[Path, Manifest], selection: Selection, tmp_path: Path) -> None:
    opened(shards, selection, tmp_path)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=f"{file.name}: a damaged store"):
        opened(shards, selection, tmp_path)


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "hlgp_dist" / "stores"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "hlgp_dist" / "stores"
