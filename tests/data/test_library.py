"""A host's pictures: decoded once by all its processes together, equal to a plain reading, whatever room there is."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import tarfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data import class_store, decoding
from hlgp_dist.data.cache import Cache, default_cache_dir
from hlgp_dist.data.formats import PICTURE_SUFFIXES
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.picture import Form, scaled, scaled_exactly, stored_of
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.place import Folder
from hlgp_dist.data.room import PARTIAL, SUFFIX
from hlgp_dist.data.selection import Part, Selection, select
from hlgp_dist.data.source import merged_runs
from hlgp_dist.errors import DataError
from hlgp_dist.types import PictureSize, TaskSpec

FORK = multiprocessing.get_context("fork")
SIZE = PictureSize(8, 0.875, "bilinear")
TASK = TaskSpec(1, 4, ("eel", "bee"))
ALL = TaskSpec(0, 0, ("ant", "bee", "cat", "dog", "eel"))
TRAIN_PICTURES = 35

Sharded = tuple[Path, Manifest]


def library(
    shards: Sharded, cache: Path, size: PictureSize = SIZE, limit_bytes: int | None = None, **options: Any
) -> Library:
    return Library(open_place(shards[0]), shards[1], size, Cache(cache, limit_bytes), **options)


def chosen(shards: Sharded, task: TaskSpec = TASK, part: Part = "train", fraction: float = 0.0) -> Selection:
    return select(shards[1], task, part, fraction)


def plain(shards: Sharded, selection: Selection, form: Form) -> list[np.ndarray]:
    """What a tar reader and PIL come to."""
    files = {}
    for tar in shards[0].glob("*.tar"):
        with tarfile.open(tar) as members:
            for member in members:
                key, suffix = member.name.split(".", 1)
                if suffix in PICTURE_SUFFIXES:
                    files[tar.name, key] = members.extractfile(member).read()  # type: ignore[union-attr]
    split = shards[1].splits[selection.split]
    names = [(split.shards[split.shard[index]].name, split.key[index].decode()) for index in selection.indices]
    read = [Image.open(io.BytesIO(files[name])) for name in names]
    if selection.split == "train" and form == "scaled":
        return [scaled(np.array(picture.convert("RGB")), SIZE) for picture in read]
    if form == "full":
        return [np.array(picture.convert("RGB")) for picture in read]
    return [scaled_exactly(picture, SIZE) for picture in read]


def same(pictures: Pictures, expected: list[np.ndarray]) -> bool:
    return len(pictures) == len(expected) and all(
        np.array_equal(pictures[sample], array) for sample, array in enumerate(expected)
    )


def slowly_stored(content: bytes, size: PictureSize, form: Form, *, is_exact: bool) -> np.ndarray:
    time.sleep(0.01)
    return stored_of(content, size, form, is_exact=is_exact)


def in_processes(count: int, work: Callable[[int], object], folder: Path) -> list[Any]:
    """What each of them comes to, as JSON."""

    def main(number: int) -> None:
        decoding.stored_of = slowly_stored  # type: ignore[assignment]
        (folder / f"{number}.json").write_text(json.dumps(work(number)))

    processes = [FORK.Process(target=main, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [json.loads((folder / f"{number}.json").read_text()) for number in range(count)]


@pytest.mark.parametrize("form", ["scaled", "full"])
@pytest.mark.parametrize(("part", "fraction"), [("train", 0.0), ("train", 0.4), ("validation", 0.4), ("test", 0.0)])
def test_stored_and_direct_pictures_are_those_of_a_plain_reading(
    part: Part, fraction: float, form: Form, shards: Sharded, tmp_path: Path
) -> None:
    selection = chosen(shards, part=part, fraction=fraction)
    expected = plain(shards, selection, form)
    stored = library(shards, tmp_path).open(selection, form)
    direct = library(shards, tmp_path, limit_bytes=1).open(selection, form)
    again = library(shards, tmp_path, workers=1).open(selection, form)
    for pictures in (stored, direct, again):
        assert same(pictures, expected)
        assert pictures.shapes.tolist() == [list(array.shape[:2]) for array in expected]
        assert pictures.labels.tolist() == selection.labels.tolist()
        assert (pictures.size, pictures.form) == (SIZE, form)
        first = pictures[np.int64(0)]
        assert first.dtype == np.uint8 and first.flags.c_contiguous and not first.flags.writeable


def test_each_class_is_read_and_decoded_once_for_all_orders_parts_and_tasks(shards: Sharded, tmp_path: Path) -> None:
    used = library(shards, tmp_path)
    used.open(chosen(shards), "scaled")
    assert (used.counts.decoded, used.counts.bytes_read) == (12, chosen(shards).bytes), "of no other class a byte"
    turned = TaskSpec(0, 0, TASK.classes[::-1])
    for task, part, fraction in ((turned, "train", 0.0), (TASK, "train", 0.4), (TASK, "validation", 0.4)):
        other = library(shards, tmp_path)
        opened = other.inspect(chosen(shards, task, part, fraction), "scaled")
        assert (other.counts.decoded, other.counts.bytes_read) == (0, 0)
        assert opened.bytes_read == chosen(shards).bytes
    used.open(chosen(shards, TaskSpec(0, 0, ("bee", "cat"))), "scaled")
    assert used.counts.decoded == 12 + 9
    assert library(shards, tmp_path, PictureSize(9, 0.875, "bilinear")).inspect(chosen(shards), "scaled").bytes_read
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 5


def test_neighbours_are_read_together(shards: Sharded) -> None:
    split, selection = shards[1].splits["train"], chosen(shards)
    runs = merged_runs(split, selection.indices)
    assert np.array_equal(np.concatenate(runs), selection.indices)
    assert len(runs) <= len(TASK.classes) + len(split.shards) - 1


def test_processes_with_tasks_of_their_own_decode_each_picture_once(shards: Sharded, tmp_path: Path) -> None:
    """As the trials of a search and their ranks do."""
    tasks = [TaskSpec(0, 0, ALL.classes[start:] + ALL.classes[:start]) for start in range(4)]

    def work(number: int) -> tuple[int, int, int]:
        ours = library(shards, tmp_path / "cache", workers=1 + number % 2)
        seen = 0
        for classes in (tasks[number].classes[:2], tasks[number].classes[2:]):
            task = TaskSpec(0, 0, classes)
            ours.prepare(chosen(shards, ALL, "test"), "scaled")
            for part in ("train", "test"):
                pictures = ours.open(chosen(shards, task, part), "scaled")  # type: ignore[arg-type]
                seen += sum(int(pictures[sample].sum()) for sample in range(len(pictures)))
        ours.close()
        return ours.counts.decoded, ours.counts.bytes_read, seen

    results = in_processes(4, work, tmp_path)
    selections = [chosen(shards, ALL, "train"), chosen(shards, ALL, "test")]
    assert sum(decoded for decoded, _, _ in results) == sum(len(selection) for selection in selections)
    assert sum(read for _, read, _ in results) == sum(selection.bytes for selection in selections)
    assert {seen for _, _, seen in results} == {
        sum(int(array.sum()) for selection in selections for array in plain(shards, selection, "scaled"))
    }


def test_ranks_share_the_classes_of_a_task(shards: Sharded, tmp_path: Path) -> None:
    def work(rank: int) -> int:
        ours = library(shards, tmp_path / "cache", workers=1)
        ours.open(chosen(shards, ALL), "scaled")
        return ours.counts.decoded

    decoded = in_processes(2, work, tmp_path)
    assert sum(decoded) == TRAIN_PICTURES
    assert min(decoded) > 0


def kill_while_decoding(shards: Sharded, folder: Path, times: int) -> None:
    """Random kills; after each everything is read right, and nothing is left over."""
    expected = plain(shards, chosen(shards, ALL), "scaled")

    def main() -> None:
        decoding.stored_of = slowly_stored  # type: ignore[assignment]
        library(shards, folder, workers=2).open(chosen(shards, ALL), "scaled")

    for _ in range(times):
        shutil.rmtree(folder, ignore_errors=True)
        victim = FORK.Process(target=main)
        victim.start()
        time.sleep(random.uniform(0.0, 0.25))
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
        assert same(library(shards, folder).open(chosen(shards, ALL), "scaled"), expected)
        library(shards, folder).open(chosen(shards, ALL, "test"), "scaled")
        assert not list(folder.glob(f"*{PARTIAL}"))


def test_kills_while_decoding_are_no_obstacle(shards: Sharded, tmp_path: Path) -> None:
    kill_while_decoding(shards, tmp_path / "cache", 5)


@pytest.mark.soak
def test_many_kills_while_decoding_are_no_obstacle(shards: Sharded, tmp_path: Path) -> None:
    kill_while_decoding(shards, tmp_path / "cache", 50)


@pytest.mark.parametrize("place", ["pixels", "record", "length"])
def test_a_damaged_store_is_made_again(
    place: str, shards: Sharded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = library(shards, tmp_path).open(chosen(shards), "scaled")
    expected = plain(shards, chosen(shards), "scaled")
    file = sorted(tmp_path.glob(f"*{SUFFIX}"))[0]
    content = bytearray(file.read_bytes())
    content[{"pixels": 100, "record": -40, "length": -1}[place]] ^= 1
    file.unlink()  # the file of those who have it mapped stays as it is
    file.write_bytes(content[:-10] if place == "length" else content)
    ours = library(shards, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert same(ours.open(chosen(shards), "scaled"), expected)
    assert ours.counts.damaged == 1
    assert file.stem in caplog.text
    assert same(before, expected)
    assert library(shards, tmp_path).inspect(chosen(shards), "scaled").bytes_read


def test_a_store_is_checked_once_a_process(shards: Sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(shards, tmp_path).open(chosen(shards), "scaled")
    ours = library(shards, tmp_path)
    ours.open(chosen(shards), "scaled")
    monkeypatch.setattr("hlgp_dist.data.stores.check_pictures", lambda *_: pytest.fail("again"))
    assert same(ours.open(chosen(shards), "scaled"), plain(shards, chosen(shards), "scaled"))


def test_without_room_a_warning_names_the_option_once(
    shards: Sharded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = library(shards, tmp_path, limit_bytes=4000)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pictures = ours.open(chosen(shards, ALL), "scaled")
            assert same(pictures, plain(shards, chosen(shards, ALL), "scaled"))
    assert caplog.text.count("data.cache_limit_gb") == 1
    stored = list(tmp_path.glob(f"*{SUFFIX}"))
    assert 0 < len(stored) < len(ALL.classes), "some fit"
    assert sum(file.stat().st_size for file in stored) <= 4000


def test_a_shard_that_cannot_be_read_ends_it_and_leaves_nothing(
    shards: Sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Folder, name: str, start: int = 0, length: int | None = None) -> bytes:
        raise DataError(f"{name}: cannot be read ([Errno 5] Input/output error)")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="Input/output error"):
        patch.setattr(Folder, "read", fail)
        library(shards, tmp_path, keeps_bad=True).open(chosen(shards), "scaled")
    assert {file.name for file in tmp_path.iterdir()} <= {".lock"}
    assert same(library(shards, tmp_path).open(chosen(shards), "scaled"), plain(shards, chosen(shards), "scaled"))


def test_what_was_prepared_is_decoded_already(shards: Sharded, tmp_path: Path) -> None:
    ours = library(shards, tmp_path)
    ours.prepare(chosen(shards, ALL), "scaled")
    ours.prepare(chosen(shards, ALL, "test"), "scaled")
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob(f"*{SUFFIX}"))) < 2 * len(ALL.classes) and time.monotonic() < deadline:
        time.sleep(0.01)
    other = library(shards, tmp_path)
    assert same(other.open(chosen(shards, ALL), "scaled"), plain(shards, chosen(shards, ALL), "scaled"))
    assert other.counts.decoded == 0
    ours.close()


def test_closing_ends_preparation_at_once(shards: Sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def very_slowly(*args: Any, **options: Any) -> np.ndarray:
        time.sleep(0.2)
        return stored_of(*args, **options)

    monkeypatch.setattr(decoding, "stored_of", very_slowly)
    ours = library(shards, tmp_path)
    ours.prepare(chosen(shards, ALL), "scaled")
    while not list(tmp_path.glob(f"*{PARTIAL}")):
        time.sleep(0.01)
    began = time.monotonic()
    ours.close()
    assert time.monotonic() - began < 2
    assert {file.name for file in tmp_path.iterdir()} <= {".lock"}


def test_closing_ends_the_checking_of_what_is_there(
    shards: Sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(shards, tmp_path).open(chosen(shards, ALL), "scaled")
    checked, may_go_on = threading.Event(), threading.Event()

    def slow_crc32(content: bytes) -> int:
        checked.set()
        may_go_on.wait(20)
        return zlib.crc32(content)

    monkeypatch.setattr(class_store, "zlib", SimpleNamespace(crc32=slow_crc32))
    ours = library(shards, tmp_path)
    ours.prepare(chosen(shards, ALL), "scaled")
    assert checked.wait(20)
    threading.Timer(0.2, may_go_on.set).start()
    ours.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prepare"]
    assert ours.counts.decoded == 0


def test_tasks_come_and_go_without_a_trace(shards: Sharded, tmp_path: Path) -> None:
    ours = library(shards, tmp_path)

    def open_files_and_maps() -> tuple[int, int]:
        """Of these places: what other tests left open may be closed meanwhile."""
        files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        count = sum(str(file).startswith((str(tmp_path), str(shards[0]))) for file in files)
        return count, Path("/proc/self/maps").read_text().count(str(tmp_path))

    ours.open(chosen(shards, ALL), "scaled")
    before = open_files_and_maps()
    for start in range(100):
        pictures = ours.open(chosen(shards, TaskSpec(0, 0, ALL.classes[start % 4 :])), "scaled")
        assert pictures[0].any()
    del pictures
    assert open_files_and_maps() == before
    assert before[1] == 0


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "hlgp_dist" / "stores"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "hlgp_dist" / "stores"
