"""What is a bad sample, what its message says, and what every odd but good picture becomes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.room import SUFFIX
from hlgp_dist.data.selection import select
from hlgp_dist.data.source import BadSample
from hlgp_dist.types import PictureSize, TaskSpec
from tests.data.handmade import Sample, drawn, sample_of, shard_by_hand

SIZE = PictureSize(8, 0.875, "bilinear")
TASK = TaskSpec(0, 0, ("a", "b"))
GOOD = drawn(1)


def library(folder: Path, manifest: Manifest, cache: Path, limit_bytes: int | None = None, **options: Any) -> Library:
    return Library(open_place(folder), manifest, SIZE, Cache(cache, limit_bytes), **options)


def cut(sample: Sample) -> Sample:
    return sample._replace(data=sample.data[: len(sample.data) // 2])


BAD = {
    "zero bytes": (Sample(b"", 20, 14), "cannot be decoded"),
    "text": (Sample(b"<!DOCTYPE html>" * 20, 20, 14), "cannot be decoded"),
    "cut JPEG": (cut(drawn(2, kind="JPEG")), "cannot be decoded"),
    "cut PNG": (cut(drawn(2)), "cannot be decoded"),
    "another kind": (sample_of(Image.new("RGB", (20, 14)), "BMP")._replace(suffix="png"), "cannot be decoded"),
    "bomb": (drawn(2)._replace(width=20_000, height=20_000), "has more than 89478485 pixels"),
    "needle": (drawn(2)._replace(width=60_000_000, height=1), "has more than 89478485 pixels"),
    "thread": (sample_of(Image.new("1", (2**21, 1))), "has more than 89478485 pixels"),
    "16-bit grey": (sample_of(Image.frombytes("I;16", (20, 14), bytes(560))), "16-bit grey"),
    "another size": (drawn(2)._replace(width=40), "by the manifest's size as"),
    "no picture": (drawn(2)._replace(suffix="txt"), "0 pictures, not one"),
}


@pytest.mark.parametrize("limit", [None, 1], ids=["stored", "direct"])
@pytest.mark.parametrize("name", BAD)
def test_bad_samples_are_named_and_may_be_left_out(
    name: str, limit: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, reason = BAD[name]
    folder, cache = tmp_path / "shards", tmp_path / "cache"
    manifest = shard_by_hand(folder, {"a": [GOOD, bad, drawn(3), bad], "b": [drawn(4)]})
    selection = select(manifest, TASK, "train", 0.0)

    def opened_and_read() -> None:
        pictures = library(folder, manifest, cache, limit_bytes=limit).open(selection, "scaled")
        for sample in range(len(pictures)):
            pictures[sample]

    with pytest.raises(BadSample, match=f"train.tar: sample train-1 of class a: .*{reason}"):
        opened_and_read()
    assert len(list(cache.glob(f"*{SUFFIX}"))) <= 1, "of the other class"
    for _ in range(2):
        ours = library(folder, manifest, cache, limit_bytes=limit, keeps_bad=True)
        opened = ours.inspect(selection, "scaled")
        assert {sample: (each.index, each.key, each.shard) for sample, each in opened.bad.items()} == {
            1: (1, "train-1", "train.tar"),
            3: (3, "train-3", "train.tar"),
        }
        assert reason in opened.bad[1].reason
        pictures = opened.pictures.without(opened.bad)
        assert pictures.labels.tolist() == [0, 0, 1]
        assert [list(pictures[sample].shape[:2]) for sample in range(3)] == pictures.shapes.tolist()
        clean = library(folder, manifest, cache).open(select(manifest, TaskSpec(0, 0, ("b",)), "train", 0.0), "scaled")
        assert np.array_equal(pictures[2], clean[0])
        with pytest.raises(BadSample):
            ours.open(selection, "scaled")
    with pytest.raises(BadSample):
        opened_and_read()


def test_a_bad_test_picture_is_never_left_out(tmp_path: Path) -> None:
    manifest = shard_by_hand(tmp_path / "shards", {"a": [GOOD]}, test=[GOOD, BAD["text"][0]])
    ours = library(tmp_path / "shards", manifest, tmp_path / "cache", keeps_bad=True)
    with pytest.raises(BadSample, match=r"test\.tar: sample test-1 of class a: cannot be decoded"):
        ours.inspect(select(manifest, TaskSpec(0, 0, ("a",)), "test", 0.0), "scaled")


def test_a_flipped_bit_is_a_bad_sample_until_it_is_mended(tmp_path: Path) -> None:
    folder, cache = tmp_path / "shards", tmp_path / "cache"
    manifest = shard_by_hand(folder, {"a": [GOOD, drawn(2)], "b": [GOOD]})
    selection, whole = select(manifest, TASK, "train", 0.0), (folder / "train.tar").read_bytes()
    content = bytearray(whole)
    content[int(manifest.splits["train"].offset[1]) + 512 + 200] ^= 1
    (folder / "train.tar").write_bytes(content)
    opened = library(folder, manifest, cache, keeps_bad=True).inspect(selection, "scaled")
    assert list(opened.bad) == [1]
    assert "checksum" in opened.bad[1].reason
    (folder / "train.tar").write_bytes(whole)
    assert len(library(folder, manifest, cache).open(selection, "scaled")) == 3, "what failed once is tried again"


def test_what_would_be_too_large_when_scaled_is_bad_in_full_too(tmp_path: Path) -> None:
    manifest = shard_by_hand(tmp_path / "shards", {"a": [GOOD, BAD["thread"][0]]})
    ours = library(tmp_path / "shards", manifest, tmp_path / "cache", keeps_bad=True)
    opened = ours.inspect(select(manifest, TaskSpec(0, 0, ("a",)), "train", 0.0), "full")
    assert list(opened.bad) == [1]


def test_a_class_of_bad_samples_alone(tmp_path: Path) -> None:
    manifest = shard_by_hand(tmp_path / "shards", {"a": [BAD["bomb"][0]], "b": [GOOD]})
    ours = library(tmp_path / "shards", manifest, tmp_path / "cache", keeps_bad=True)
    opened = ours.inspect(select(manifest, TASK, "train", 0.0), "full")
    assert list(opened.bad) == [0]
    assert len(opened.pictures.without(opened.bad)) == 1


def rotated_by_exif() -> Sample:
    exif = Image.Exif()
    exif[0x0112] = 6
    return sample_of(Image.new("RGB", (20, 14), (9, 99, 200)), "JPEG", exif=exif)


def noise(mode: str, channels: int) -> Image.Image:
    return Image.frombytes(mode, (20, 14), np.random.default_rng(5).bytes(20 * 14 * channels))


ODD = {
    "CMYK": sample_of(noise("CMYK", 4), "JPEG"),
    "palette": sample_of(noise("RGB", 3).convert("P")),
    "palette with transparency": sample_of(noise("RGB", 3).convert("P"), transparency=3),
    "alpha": sample_of(noise("RGBA", 4)),
    "grey": sample_of(noise("L", 1), "JPEG"),
    "one bit": sample_of(noise("L", 1).convert("1")),
    "turned by EXIF": rotated_by_exif(),
    "one pixel": drawn(1, 1, 1),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_become_what_pil_makes_of_them(name: str, tmp_path: Path) -> None:
    manifest = shard_by_hand(tmp_path / "shards", {"a": [ODD[name]], "b": [GOOD]})
    selection = select(manifest, TASK, "train", 0.0)
    pictures = library(tmp_path / "shards", manifest, tmp_path / "cache").open(selection, "full")
    expected = Image.open(io.BytesIO(ODD[name].data)).convert("RGB")
    assert np.array_equal(pictures[0], np.asarray(expected))
