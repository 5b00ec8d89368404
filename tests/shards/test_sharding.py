from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from hlgp_dist.data.manifest import Encoding, Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.record import unpack
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure
from hlgp_dist.shards import layout
from hlgp_dist.shards.shard import shard
from hlgp_dist.shards.verify import verify

SHARD_BYTES = 24 * 1024  # as the fixture `shards` has it
COUNTS = {"ant": 12, "bee": 5, "cat": 9, "dog": 2, "eel": 7}
TEST_PICTURES = 3


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_bytes_do_not_depend_on_workers_repetition_or_kind_of_source(
    pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    shard(pictures, tmp_path / "one", shard_bytes=SHARD_BYTES, workers=1)
    shard(pictures, tmp_path / "two", shard_bytes=SHARD_BYTES, workers=2)
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        archive.add(pictures, arcname="top")
    shard(tmp_path / "pictures.tar", tmp_path / "tar", shard_bytes=SHARD_BYTES)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "tar") == content(shards[0])


def test_any_webdataset_reader_gets_the_untouched_pictures(pictures: Path, shards: tuple[Path, Manifest]) -> None:
    folder, manifest = shards
    seen = []
    for split in ("train", "test"):
        names = [str(folder / item.name) for item in manifest.splits[split].shards]
        assert len(names) > 1
        for sample in webdataset.WebDataset(names, shardshuffle=False):
            origin = json.loads(sample["json"])
            original = pictures / split / origin["class"] / origin["path"]
            kind = "png" if original.suffix == ".png" else "jpg"
            assert sample[kind] == original.read_bytes()
            assert manifest.classes[int(sample["cls"])] == origin["class"]
            assert "." not in sample["__key__"]
            seen.append(original)
    assert sorted(seen) == sorted(file for file in pictures.rglob("*") if file.is_file())


def test_plain_tar_tools_agree_with_the_manifest(shards: tuple[Path, Manifest]) -> None:
    folder, manifest = shards
    for split in manifest.splits.values():
        for number, item in enumerate(split.shards):
            assert item.bytes <= SHARD_BYTES
            with tarfile.open(folder / item.name) as archive:
                starts = {member.name.split(".")[0]: member.offset for member in reversed(archive.getmembers())}
            mine = split.shard == number
            assert starts == dict(zip((key.decode() for key in split.key[mine]), split.offset[mine], strict=True))
            assert (split.offset[mine][1:] == (split.offset + split.size)[mine][:-1]).all()


def test_counts_and_sizes(shards: tuple[Path, Manifest]) -> None:
    folder, manifest = shards
    assert manifest.classes == tuple(COUNTS)
    assert manifest.splits["train"].counts.tolist() == list(COUNTS.values())
    assert manifest.splits["test"].counts.tolist() == [TEST_PICTURES] * len(COUNTS)
    sizes = json.loads((folder / "sizes.json").read_text())
    assert sum(sizes[name] for name in sizes if name.startswith("train")) == sum(COUNTS.values())
    assert (np.diff(manifest.splits["train"].class_index) >= 0).all()


def test_every_sample_has_its_picture_size_and_its_records_checksum(
    pictures: Path, shards: tuple[Path, Manifest]
) -> None:
    folder, manifest = shards
    assert manifest.encoding == Encoding(resize=None, quality=None)
    for split in manifest.splits.values():
        for index in range(len(split)):
            content = (folder / split.shards[split.shard[index]].name).read_bytes()
            record = content[split.offset[index] : split.offset[index] + split.size[index]]
            assert hashlib.sha256(record).hexdigest()[:16] == split.checksum[index].decode()
            members = {name.partition(".")[2]: data for name, data in unpack(record)}
            with Image.open(io.BytesIO(members.get("jpg", members.get("png", b"")))) as picture:
                assert picture.size == (split.width[index], split.height[index])


def test_the_same_again_is_done_and_anything_else_is_refused(
    pictures: Path, tmp_path: Path, write_picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    source, folder = shutil.copytree(pictures, tmp_path / "source"), tmp_path / "shards"
    first = shard(source, folder)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    with caplog.at_level("INFO"):
        assert shard(source, folder).digest == first.digest
    assert "nothing to do" in caplog.text
    assert before == {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    with pytest.raises(ConfigError, match="another shard_bytes, resize or quality"):
        shard(source, folder, shard_bytes=SHARD_BYTES)
    with pytest.raises(ConfigError, match="another shard_bytes, resize or quality"):
        shard(source, folder, encoding=Encoding(8, 90))
    changed = next((source / "train" / "ant").glob("*.png"))
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    with pytest.raises(ConfigError, match="other pictures"):
        shard(source, folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        shard(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_bad_pictures_are_all_named_and_nothing_is_left(
    pictures: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    source = shutil.copytree(pictures, tmp_path / "source")
    cut = write_picture(source / "train" / "ant" / "cut.jpg", width=300, height=300)
    cut.write_bytes(cut.read_bytes()[:-2000])
    (source / "train" / "bee" / "text.png").write_text("no picture")
    (source / "test" / "cat" / "empty.jpg").touch()
    Image.new("RGB", (9, 9)).save(source / "test" / "dog" / "bitmap.jpg", format="BMP")
    (source / "train" / "cat" / "link.jpg").symlink_to("nowhere")
    os.mkfifo(source / "train" / "eel" / "pipe.jpg")
    os.mkfifo(source / "train" / "eel" / "pipe.txt")
    with pytest.raises(DataError) as caught:
        shard(source, tmp_path / "shards", shard_bytes=SHARD_BYTES)
    told = str(caught.value)
    assert "6 of" in told
    for name in ("train/ant/cut.jpg", "train/bee/text.png", "test/cat/empty.jpg", "test/dog/bitmap.jpg"):
        assert f"{name}: " in told
    assert f"train/cat/link.jpg: {source}/train/cat/link.jpg: a link to nothing" in told
    assert f"train/eel/pipe.jpg: {source}/train/eel/pipe.jpg: a pipe, a socket or a device, not a file" in told
    assert sorted(tmp_path.iterdir()) == [source]


def test_a_png_under_a_jpeg_name_keeps_its_bytes_and_gets_its_suffix(
    tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    png = write_picture(tmp_path / "train" / "ant" / "a.png")
    png.rename(png.with_suffix(".JPEG"))
    shard(tmp_path, tmp_path / "shards")
    (sample,) = webdataset.WebDataset(str(tmp_path / "shards" / "train-000000.tar"), shardshuffle=False)
    assert sample["png"] == png.with_suffix(".JPEG").read_bytes()


def test_a_full_disk_is_noticed_before_anything_is_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EnvironmentFailure, match="1000 free"):
        shard(pictures, tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_pictures(pictures: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    shard(
        pictures, tmp_path / "shards", shard_bytes=SHARD_BYTES, progress=lambda done, total: calls.append((done, total))
    )
    total = sum(COUNTS.values()) + TEST_PICTURES * len(COUNTS)
    assert calls[-1] == (total, total)
    assert calls == sorted(calls)


def test_scaled_shards_do_not_depend_on_workers_and_hold_what_they_say(pictures: Path, tmp_path: Path) -> None:
    encoding = Encoding(resize=8, quality=80)
    manifest = shard(pictures, tmp_path / "one", shard_bytes=SHARD_BYTES, encoding=encoding, workers=1)
    shard(pictures, tmp_path / "two", shard_bytes=SHARD_BYTES, encoding=encoding, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert read_manifest(tmp_path / "one").encoding == encoding
    assert all((np.minimum(split.width, split.height) == 8).all() for split in manifest.splits.values())
    assert verify(tmp_path / "one", decode="all") == []
    again = shard(pictures, tmp_path / "one", shard_bytes=SHARD_BYTES, encoding=encoding)
    assert again.source_hash == manifest.source_hash


def test_a_shard_of_many_small_pictures_ends_at_their_number(pictures: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_SAMPLES", 4)
        manifest = shard(pictures, tmp_path / "shards")
    assert [item.samples for item in manifest.splits["train"].shards] == [4] * 8 + [3]
    assert [item.name for item in manifest.splits["test"].shards][-1] == "test-000003.tar"
    assert verify(tmp_path / "shards") == []
