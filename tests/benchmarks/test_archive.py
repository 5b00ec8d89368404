"""What a hostile or damaged archive comes to: a message, and nothing on the disk."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hlgp_dist.benchmarks.archive import Members, md5, unpack
from hlgp_dist.benchmarks.spool import Spool
from hlgp_dist.errors import DataError, EnvironmentFailure
from tests.benchmarks.originals import folder, tar, zipped

FILES = {"top/a/one.jpg": b"one" * 500, "top/b/two.jpg": b"", "top/notes": b"text"}


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


def contents(source: Path) -> dict[str, bytes]:
    with Spool(source.parent / "spool") as spool:
        found = {name: extent.read() for name, extent in unpack(source, spool, quiet).items()}
        assert list((source.parent / "spool").iterdir()) == []  # not even while it is read
    return found


def member(name: str, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry


def one_member(path: Path, entry: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    return path


def test_every_kind_gives_the_same_files(tmp_path: Path) -> None:
    assert contents(tar(tmp_path / "a.tar", FILES)) == FILES
    assert contents(tar(tmp_path / "a.tar.gz", FILES, "w:gz")) == FILES
    assert contents(tar(tmp_path / "misnamed", FILES, "w:gz")) == FILES
    assert contents(zipped(tmp_path / "a.zip", FILES)) == FILES
    assert contents(folder(tmp_path / "a", FILES)) == FILES
    (tmp_path / "list.txt").write_text("a b")
    assert contents(tmp_path / "list.txt") == {"list.txt": b"a b"}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (member("../../evil.jpg", size=9), "leaves the folder"),
        (member("top/../../evil.jpg", size=9), "leaves the folder"),
        (member("/tmp/evil.jpg", size=9), "leaves the folder"),
        (member("top/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (member("top/link", type=tarfile.LNKTYPE, linkname="top/other"), "is a link"),
        (member("top/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "special file"),
        (member("top/pipe", type=tarfile.FIFOTYPE), "special file"),
    ],
)
def test_a_hostile_tar_member_is_refused(entry: tarfile.TarInfo, message: str, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        contents(one_member(tmp_path / f"evil{suffix}", entry))
    assert entry.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../evil.jpg", stat.S_IFREG, "leaves the folder"),
        ("/tmp/evil.jpg", stat.S_IFREG, "leaves the folder"),
        ("a\\..\\..\\evil.jpg", stat.S_IFREG, "leaves the folder"),
        ("a\\evil.jpg", stat.S_IFREG, "backslash"),
        ("a/link.jpg", stat.S_IFLNK, "is a link"),
        ("a/pipe", stat.S_IFIFO, "special file"),
    ],
)
def test_a_hostile_zip_member_is_refused(name: str, mode: int, message: str, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match=message):
        contents(tmp_path / "evil.zip")


def test_a_link_in_an_unpacked_folder_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", FILES)
    (source / "top" / "link.jpg").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"link\.jpg is a link"):
        contents(source)
    (source / "top" / "link.jpg").unlink()
    (source / "top" / "away").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="away is a link"):
        contents(source)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for name in ("a/b.jpg", "a//b.jpg"):
            archive.addfile(member(name))
    with pytest.raises(DataError, match=r"a/b\.jpg is there twice"):
        contents(tmp_path / "twice.tar")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as pair, pytest.warns(UserWarning):
        pair.writestr("a/b.jpg", "1")
        pair.writestr("a/b.jpg", "2")
    with pytest.raises(DataError, match=r"a/b\.jpg is there twice"):
        contents(tmp_path / "twice.zip")


def bomb_gzip(path: Path) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(member("big", size=200 << 20).tobuf())
        for _ in range(200):
            stream.write(bytes(1 << 20))
    return path


def bomb_header(path: Path) -> Path:
    """A name that claims to be a terabyte long; read whole, it would take that much memory."""
    path.write_bytes(
        gzip.compress(member("long", type=tarfile.GNUTYPE_LONGNAME, size=1 << 40).tobuf(tarfile.GNU_FORMAT))
    )
    return path


def bomb_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(3):
            archive.writestr(f"big{number}", bytes(40 << 20))
    return path


@pytest.mark.parametrize(("make", "name"), [(bomb_gzip, "b.tgz"), (bomb_header, "h.tar.gz"), (bomb_zip, "b.zip")])
def test_a_bomb_does_not_go_off(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        contents(make(tmp_path / name))


def test_a_cut_archive_is_noticed_wherever_it_is_cut(tmp_path: Path) -> None:
    files = {f"a/{number}.jpg": bytes([number]) * 3000 for number in range(4)}
    whole = tar(tmp_path / "w.tar", files)
    sources = (whole, tar(tmp_path / "w.tar.gz", files, "w:gz"), zipped(tmp_path / "w.zip", files))
    for source in sources:
        content = source.read_bytes()
        # a tar is padded with zeros to 10 KiB; two blocks of them are its end
        end = 512 + sum(512 + 3072 for _ in files) if source is whole else len(content)
        for cut in {end // 4, end // 2, end - 700, end - 300, end - 1} - {0}:
            if cut <= 0:
                continue
            damaged = tmp_path / f"cut{source.name.removeprefix('w')}"
            damaged.write_bytes(content[:cut])
            with pytest.raises(DataError, match=r"truncated|not a readable|not a \.tar"):
                contents(damaged)


def test_damage_inside_is_noticed(tmp_path: Path) -> None:
    zip_file = tmp_path / "d.zip"
    with zipfile.ZipFile(zip_file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/b.jpg", b"x" * 100)
    zip_file.write_bytes(zip_file.read_bytes().replace(b"xxxx", b"xxxy", 1))
    with pytest.raises(DataError, match="CRC"):
        contents(zip_file)
    packed = bytearray(tar(tmp_path / "d.tgz", FILES, "w:gz").read_bytes())
    packed[-8] ^= 1
    (tmp_path / "d.tgz").write_bytes(packed)
    with pytest.raises(DataError, match="CRC"):
        contents(tmp_path / "d.tgz")


def test_what_is_no_archive_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "page.tar.gz").write_text("<!DOCTYPE html><html>not found")
    with pytest.raises(DataError, match=r"page\.tar\.gz: not a .* it begins with b'<!DOCTYPE html>"):
        contents(tmp_path / "page.tar.gz")
    (tmp_path / "parts.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(DataError, match="which alone are read"):
        contents(tmp_path / "parts.rar")
    with pytest.raises(DataError, match="no such file"):
        contents(tmp_path / "absent.tar")


def test_a_small_disk_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = (zipped(tmp_path / "a.zip", FILES), tar(tmp_path / "a.tgz", FILES, "w:gz"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    for source in sources:
        with pytest.raises(EnvironmentFailure, match="do not fit into 10 free bytes"):
            contents(source)


def test_an_uncompressed_tar_is_read_in_place(tmp_path: Path) -> None:
    source = tar(tmp_path / "a.tar", FILES)
    with Spool(tmp_path) as spool:
        members: Members = unpack(source, spool, quiet)
    assert {extent.file for extent in members.values()} == {str(source)}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_oldest_tars_have_no_magic_number(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    header = bytearray(member("a/one.jpg", size=3).tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "v7.tar").write_bytes(pack(bytes(header) + b"one".ljust(512, b"\0") + bytes(1024)))
    assert contents(tmp_path / "v7.tar") == {"a/one.jpg": b"one"}


def test_md5(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert md5(tmp_path / "abc", quiet) == "900150983cd24fb0d6963f7d28e17f72"
