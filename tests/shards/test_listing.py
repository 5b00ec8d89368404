from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Picture, in_order
from hlgp_dist.shards.tar_members import plain_members
from hlgp_dist.shards.walk import list_pictures


def names(source: Path) -> list[str]:
    return ["/".join(picture[:3]) for picture in list_pictures(source)]


def tar_with(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, *, kind: bytes = tarfile.REGTYPE, linkname: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, linkname, size
    return info


def test_a_folder_is_walked_below_its_classes(tmp_path: Path) -> None:
    for name in (
        "train/b/1.JPG",
        "train/a/deep/2.Png",
        "test/a/3.jpeg",
        "train/a/notes.txt",
        "train/a/._1.jpg",
        "x.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["test/a/3.jpeg", "train/a/deep/2.Png", "train/b/1.JPG"]


def test_a_tar_is_read_like_its_folder(tmp_path: Path) -> None:
    good = tar_with(tmp_path / "a.tar", member("./top"), member("top/train/a/1.jpg", size=7), member("top/README"))
    (picture,) = list_pictures(good)
    assert (picture.split, picture.class_name, picture.name, picture.extent.size) == ("train", "a", "1.jpg", 7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../train/a/1.jpg"), "leaves"),
        (member("/train/a/1.jpg"), "leaves"),
        (member("train/a/1.jpg", kind=tarfile.SYMTYPE, linkname="/etc/hostname"), "link"),
        (member("train/a/1.jpg", kind=tarfile.LNKTYPE, linkname="train/a/0.jpg"), "link"),
        (member("train/a/1.jpg", kind=tarfile.FIFOTYPE), "special"),
        (member("train/a/1.gif"), "only JPEG and PNG"),
        (member("train/1.jpg"), "not in a class folder"),
        (member("train/a/0.jpg"), "twice"),
    ],
)
def test_an_unsafe_or_odd_member_is_refused(tmp_path: Path, bad: tarfile.TarInfo, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_pictures(tar_with(tmp_path / "bad.tar", member("train/a/0.jpg"), bad))


@pytest.mark.parametrize("left", [700, 1536, 1600, 3000, 4600])
def test_a_truncated_tar_is_named(tmp_path: Path, left: int) -> None:
    path = tar_with(tmp_path / "cut.tar", *(member(f"train/a/{index}.jpg", size=1000) for index in range(3)))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=r"cut\.tar"):
        list_pictures(path)


def test_lists_give_paths_relative_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("1.jpg", "2.png"):
        (tmp_path / "raw" / name).write_bytes(b"12345")
    rows = [("raw/1.jpg", "ant", "train"), ("raw/2.png", "bee", "test")]
    table = "\n".join(",".join(row) for row in [("path", "class", "split"), *rows])
    (tmp_path / "list.csv").write_text("\ufeff" + table)
    lines = [json.dumps(dict(zip(("path", "class", "split"), row, strict=True))) for row in rows]
    (tmp_path / "list.jsonl").write_text("\n\n".join(lines))
    assert [*list_pictures(tmp_path / "list.csv")] == [*list_pictures(tmp_path / "list.jsonl")]
    assert names(tmp_path / "list.csv") == ["test/bee/raw/2.png", "train/ant/raw/1.jpg"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raw/9.jpg,ant,train", r"list\.csv:3: .*raw/9\.jpg: no such file"),
        ("raw/folder.jpg,ant,train", r"list\.csv:3: .*raw/folder\.jpg: a folder, not a file"),
        ("raw/pipe.jpg,ant,train", r"list\.csv:3: .*raw/pipe\.jpg: a pipe, a socket or a device, not a file"),
        ("raw/link.jpg,ant,train", r"list\.csv:3: .*raw/link\.jpg: a link to nothing"),
        ("raw/1.jpg,ant,val", r"list\.csv:3: split is 'val'"),
        ("raw/1.jpg,,train", r"list\.csv:3: no class"),
        ("raw/../raw/0.jpg,ant,test", r"list\.csv: one file is listed twice, as raw/.* and raw/"),
        ("raw/1.txt,ant,train", r"list\.csv:3: .* not a \.jpg"),
        ("raw/1.jpg, ant,train", r"class ' ant' begins or ends with a blank"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("0.jpg", "1.jpg", "1.txt"):
        (tmp_path / "raw" / name).touch()
    (tmp_path / "raw" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "raw" / "pipe.jpg")
    (tmp_path / "raw" / "link.jpg").symlink_to("nowhere")
    (tmp_path / "list.csv").write_text(f"path,class,split\nraw/0.jpg,ant,train\n{line}\n")
    with pytest.raises(DataError, match=message):
        list_pictures(tmp_path / "list.csv")


def test_a_class_that_no_file_system_can_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    (tmp_path / "list.jsonl").write_text('{"path": "0.jpg", "class": "a\\ud800", "split": "train"}\n')
    with pytest.raises(DataError, match=r"list\.jsonl:1: class 'a.*' cannot be written as text"):
        list_pictures(tmp_path / "list.jsonl")


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "a.jsonl").write_text("{]")
    with pytest.raises(DataError, match="no such file"):
        list_pictures(tmp_path / "absent")
    with pytest.raises(DataError, match="no picture train/CLASS"):
        list_pictures(tmp_path)
    with pytest.raises(ConfigError, match="a source is"):
        list_pictures(tmp_path / "a.zip")
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(ConfigError, match=r"pipe\.tar: a source is"):
        list_pictures(tmp_path / "pipe.tar")
    with pytest.raises(DataError, match=r"a\.jsonl:1: not JSON"):
        list_pictures(tmp_path / "a.jsonl")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "ant").mkdir(parents=True)
    (tmp_path / "train" / "ant" / "1.jpg").touch()
    (tmp_path / "train" / "bee").symlink_to("nowhere")
    with pytest.raises(DataError, match="train/bee: a link to nothing"):
        list_pictures(tmp_path)
    (tmp_path / "list.csv").write_bytes(b"path,class,split\n\xff\xfe,ant,train\n")
    with pytest.raises(DataError, match=r"list\.csv: cannot be read"):
        list_pictures(tmp_path / "list.csv")


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train/a/1.png", "train/a/notes.txt", "validation/a/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train" / "empty").mkdir()
    assert names(tmp_path) == ["train/a/1.png"]
    assert f"{tmp_path}: no picture of a split in 3 places, first {tmp_path}/train/a/notes.txt" in caplog.text
    assert "there is no test picture" in caplog.text


@pytest.mark.parametrize("name", [" lead", "two\nlines"])
def test_an_odd_class_folder_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train" / name / "1.png").touch()
    with pytest.raises(DataError, match="begins or ends with a blank or holds a control character"):
        list_pictures(tmp_path)


def test_a_class_that_is_a_number_has_to_be_text(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"path": "1.png", "class": 0, "split": "train"}\n')
    with pytest.raises(DataError, match=r"list\.jsonl:1: class is 0; it must be text, in quotes"):
        list_pictures(tmp_path / "list.jsonl")


def test_members_of_a_tar_are_not_kept(tmp_path: Path) -> None:
    path = tar_with(tmp_path / "many.tar", *(member(f"train/a/{index}.jpg", size=index) for index in range(40)))
    with tarfile.open(path) as archive:
        for count, (info, _) in enumerate(plain_members(archive, path), start=1):
            assert info.size == count - 1 and len(archive.members) <= 1
    assert count == 40


def test_a_listing_is_sorted_counted_and_holds_names_that_are_no_text(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.jpg")
    entries = [Picture("train", name, file, Extent(file, 0, 10)) for name in "ba" for file in ("2.jpg", odd, "1.jpg")]
    with closing(in_order([*entries, Picture("test", "c", "1.jpg", Extent("x", 7, 600))], "source")) as listing:
        assert len(listing) == 7 and listing.classes == ("a", "b", "c") and listing.splits == ("test", "train")
        assert [picture[1:3] for picture in listing] == [
            ("c", "1.jpg"),
            *((name, file) for name in "ab" for file in ("1.jpg", "2.jpg", odd)),
        ]
        assert next(iter(listing)) == Picture("test", "c", "1.jpg", Extent("x", 7, 600))
        assert listing.total(512) == 6 * 512 + 1024


def test_a_listing_that_does_not_fit_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: Full())
    with pytest.raises(EnvironmentFailure, match="set TMPDIR to a larger one"):
        in_order([], "source")


def test_a_range_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "many"
    file.write_bytes(b"0123456789")
    assert Extent(str(file), 2, 5).read() == b"23456"
    assert Extent(str(file), 2, 5).read(most=3) == b"234"
    assert Extent(str(file), 2, 5).read(most=9) == b"23456"
    assert Extent.whole(file).read() == b"0123456789"
    for extent, problem in (
        (Extent(str(file), 8, 5), "became shorter while it was read"),
        (Extent(str(tmp_path), 0, 5), "a folder, not a file"),
        (Extent(str(tmp_path / "none"), 0, 5), "no such file"),
    ):
        with pytest.raises(DataError, match=problem):
            extent.read()
