"""What `hlgp data info` shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data.manifest import Encoding, Manifest
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.shards import sheet
from hlgp_dist.shards.info import Range, info
from hlgp_dist.shards.shard import shard
from hlgp_dist.shards.sheet import write_sheet


def test_counts_and_picture_sizes(shards: tuple[Path, Manifest]) -> None:
    found = info(shards[0])
    assert found.classes == ("ant", "bee", "cat", "dog", "eel")
    assert found.counts["ant"] == {"train": 12, "test": 3}
    train = found.splits["train"]
    assert (train.pictures, train.fewest, train.most) == (35, 2, 12)
    assert train.bytes == sum(file.stat().st_size for file in shards[0].glob("train-*.tar"))
    widths = shards[1].splits["train"].width
    assert train.width == Range(14, int(np.median(widths)), 25) and train.height == Range(14, 14, 14)
    assert (str(train.width), str(train.height)) == ("14 / 17 / 25", "14")
    assert found.encoding == Encoding()


def test_a_split_without_pictures(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    write_picture(tmp_path / "source" / "train" / "ant" / "1.png")
    shard(tmp_path / "source", tmp_path / "shards", encoding=Encoding(8, 70))
    found = info(tmp_path / "shards")
    assert found.splits["test"].width == Range(0, 0, 0)
    assert found.encoding == Encoding(8, 70)


def test_a_contact_sheet_has_a_row_a_class(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    assert write_sheet(shards[0], tmp_path / "sheet.png") == 5
    with Image.open(tmp_path / "sheet.png") as drawn:
        pixels = np.asarray(drawn.convert("L"))
    rows = [pixels[4 + 76 * row : 76 * (row + 1)] for row in range(5)]
    assert all((row[:, :220] < 128).any() for row in rows)  # a name
    filled = [sum((row[:, 220 + 76 * n : 292 + 76 * n] < 250).any() for n in range(8)) for row in rows]
    assert filled == [8, 5, 8, 2, 7]  # of 12, 5, 9, 2, 7 pictures


def test_a_contact_sheet_is_bounded(
    shards: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "CLASSES", 3)
    assert write_sheet(shards[0], tmp_path / "sheet.png") == 3


def test_long_names_are_cut(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    write_picture(tmp_path / "source" / "train" / ("w" * 200) / "1.png")
    shard(tmp_path / "source", tmp_path / "shards")
    assert write_sheet(tmp_path / "shards", tmp_path / "sheet.PNG") == 1


def test_what_no_sheet_can_be_made_of(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sheet\.jpg: the sheet is a PNG"):
        write_sheet(shards[0], tmp_path / "sheet.jpg")
    (tmp_path / "sheet.png").touch()
    with pytest.raises(ConfigError, match="exists already"):
        write_sheet(shards[0], tmp_path / "sheet.png")
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    tar = copy / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:600] + bytes(300) + tar.read_bytes()[900:])
    with pytest.raises(DataError, match=r"train-000000\.tar: sample photo_0__-\w+: neither JPEG nor PNG"):
        write_sheet(copy, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()
