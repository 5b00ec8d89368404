from __future__ import annotations

import errno
import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import webdataset

from hlgp_dist.data.decoding import Decoding, Pixels
from hlgp_dist.data.manifest import Manifest, Shard, Split
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.patience import Closed, Patience
from hlgp_dist.data.place import Facts, Folder
from hlgp_dist.data.record import pack
from hlgp_dist.data.source import RangeSource
from hlgp_dist.errors import ConfigError, DataError, Unreachable
from hlgp_dist.types import PictureSize


def test_a_local_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "x.tar").write_bytes(b"0123456789")
    (folder / "inside").mkdir()
    for path in (folder, str(folder), folder.as_uri()):
        place = open_place(path)
        assert (place.read("x.tar"), place.read("x.tar", 2, 3), place.read("x.tar", 8)) == (
            b"0123456789",
            b"234",
            b"89",
        )
        assert [place.facts(name) for name in ("x.tar", "y.tar", "inside")] == [Facts(10, None), None, None]
        with pytest.raises(DataError, match=r"x\.tar: truncated: 2 bytes instead of 3 at byte 8"):
            place.read("x.tar", 8, 3)
        with pytest.raises(DataError, match=r"y\.tar: cannot be read \(.*No such file"):
            place.read("y.tar")
    place.close()
    with pytest.raises(Closed):
        place.read("x.tar")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_what_nfs_does_at_times_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    calls, open_file = [], Path.open

    def flaky(self: Path, *arguments: Any, **options: Any) -> Any:
        calls.append(self)
        if len(calls) < failing:
            raise OSError(number, "away")
        return open_file(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", flaky)
    place, failing = Folder(tmp_path, Patience(seconds=0.0, first_pause_seconds=0.001)), 2
    assert place.read("x.tar", 2, 3) == b"234"
    calls.clear()
    failing = 3
    with pytest.raises(Unreachable, match=r"x\.tar: cannot be read: .*away \(2 attempts\)"):
        place.read("x.tar")
    assert len(calls) == 2
    calls.clear()
    monkeypatch.setattr(Path, "open", _missing(calls))
    with pytest.raises(DataError, match="No such file"):
        place.read("x.tar")
    assert len(calls) == 1


def _missing(calls: list[Path]) -> Any:
    def missing(self: Path, *_: Any, **__: Any) -> BinaryIO:
        calls.append(self)
        raise FileNotFoundError(errno.ENOENT, "No such file", str(self))

    return missing


def test_pauses_grow_and_differ() -> None:
    patience = Patience()
    for failed, mean in ((1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (7, 15.0), (5000, 15.0)):
        pauses = {patience.pause(failed) for _ in range(50)}
        assert len(pauses) > 1
        assert all(mean / 2 <= pause <= mean * 1.5 for pause in pauses)


@pytest.mark.parametrize("url", ["pipe:cat x", "s3://key:secret@bucket/x", "hdfs://host/x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.path: must") as caught:
        open_place(url)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    with pytest.raises(ConfigError, match=r"data\.path: gs:// needs .* pip install 'hlgp_dist\[gs\]'"):
        open_place("gs://bucket/x")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("suffix", ["pyd", "pickle", "pkl", "pth", "jpg.pyd"])
def test_a_pickled_member_is_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_picture: Any, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    picture, bomb = write_picture(tmp_path / "picture.jpg").read_bytes(), pickle.dumps(Bomb())
    record = pack([("k.jpg", picture), ("k.cls", b"0"), (f"k.{suffix}", bomb)])
    (tmp_path / "train-000000.tar").write_bytes(record)
    manifest = _manifest(record)
    source = RangeSource(Folder(tmp_path), manifest, "train", np.array([0]))
    (sample,) = source()
    assert sample[suffix] == bomb
    pixels = Pixels(Folder(tmp_path), manifest, "train", PictureSize(8, 0.875, "bilinear"), "full")
    (decoded,) = Decoding(pixels, np.array([0]))
    assert isinstance(decoded, np.ndarray)
    for handlers in ((), ("pil",)):  # all that webdataset would do by itself
        pipeline = webdataset.DataPipeline(source, webdataset.decode(*handlers))
        with pytest.raises(webdataset.autodecode.DecodingError) as caught:
            list(pipeline)
        assert "security" in str(caught.value.__cause__)
    assert not (tmp_path / "exploded").exists()


def _manifest(record: bytes) -> Manifest:
    """Of one record in one shard."""
    one = np.array([0], dtype=np.int64)
    split = Split(
        shards=(Shard("train-000000.tar", len(record), "", 1),),
        key=np.array([b"k"]),
        class_index=one.astype(np.int32),
        shard=one.astype(np.int32),
        offset=one,
        size=one + len(record),
        width=one.astype(np.int32) + 20,
        height=one.astype(np.int32) + 14,
        checksum=np.array([hashlib.sha256(record).hexdigest()[:16].encode()]),
        counts=one + 1,
    )
    return Manifest(("a",), {"train": split}, "", 0, "")
