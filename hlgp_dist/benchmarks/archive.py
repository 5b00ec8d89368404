"""Archives, read without believing them: no name leaves its folder, no link is followed, no bomb goes off.

Nothing is extracted under a name of the archive's: an uncompressed tar is read in place, the rest goes into a `Spool`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from hlgp_dist.benchmarks.spool import Spool
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.tar_members import check_end, plain_members, safe_path

GROWTH = 100
"""Pictures do not shrink; deflate makes up to 1,032 bytes of one. An archive that grows more than this is a bomb."""
_SLACK = 64 << 20
_CHUNK = 1 << 20
_KINDS = {".tar": "tar", ".tgz": "gzip", ".gz": "gzip", ".zip": "zip"}
_UNREAD = frozenset({".7z", ".bz2", ".rar", ".tbz2", ".txz", ".xz", ".zst"})

Members = dict[str, Extent]
Progress = Callable[[int, int], None]


def kind_of(source: Path) -> str:
    """`folder`, `tar`, `gzip`, `zip`, or `file` for what is no archive; decided by content, then by suffix.

    Raises:
        DataError: no such file, another kind of archive, or an archive's name on something else.
    """
    if source.is_dir():
        return "folder"
    if not source.is_file():
        raise DataError(f"{source}: no such file or folder")
    with source.open("rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    found = _by_content(head)
    suffix = source.suffix.lower()
    if found is None and (suffix in _KINDS or suffix in _UNREAD):
        raise DataError(
            f"{source}: not a .tar, .tar.gz, .tgz or .zip, which alone are read: it begins with {head[:16]!r}"
        )
    return found or "file"


def _by_content(head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if head[257:262] == b"ustar" or _is_tar_header(head) else None


def _is_tar_header(block: bytes) -> bool:
    """By its checksum: the oldest format (`tar --format=v7`) has no magic number."""
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def md5(source: Path, progress: Progress) -> str:
    """In hex. MD5 is what the authors of these benchmarks publish; it finds damage, not malice."""
    size, whole = source.stat().st_size, hashlib.md5(usedforsecurity=False)
    with source.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            whole.update(chunk)
            progress(stream.tell() >> 20, size >> 20)
    return whole.hexdigest()


def unpack(source: Path, spool: Spool, progress: Progress) -> Members:
    """Where the bytes of every plain file in `source` stand, by path; of a file that is no archive, its own.

    Raises:
        DataError: it is damaged, cut off, a bomb, or holds a link, a device, a name twice or a name that leaves it.
        EnvironmentFailure: the disk is too small.
    """
    readers = {"folder": _of_folder, "tar": _of_tar, "gzip": _of_gzip, "zip": _of_zip, "file": _of_file}
    members: Members = {}
    try:
        for name, extent in readers[kind_of(source)](source, spool, progress):
            if members.setdefault(name, extent) is not extent:
                raise DataError(f"{source}: member {name} is there twice")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, RuntimeError) as error:
        raise DataError(f"{source}: not a readable, complete archive ({error})") from error
    return members


def _of_file(source: Path, spool: Spool, progress: Progress) -> Iterator[tuple[str, Extent]]:
    yield source.name, Extent(str(source), 0, source.stat().st_size)


def _of_folder(source: Path, spool: Spool, progress: Progress) -> Iterator[tuple[str, Extent]]:
    for folder, folders, names in os.walk(source, onerror=_refuse):
        for path in (Path(folder) / name for name in sorted(folders + names)):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise DataError(f"{path} is a link or a special file; only plain files are read")
            if stat.S_ISREG(mode):
                yield path.relative_to(source).as_posix(), Extent(str(path), 0, path.lstat().st_size)


def _refuse(error: OSError) -> None:
    raise error


def _of_tar(source: Path, spool: Spool, progress: Progress) -> Iterator[tuple[str, Extent]]:
    end = source.stat().st_size
    with source.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for member, path in plain_members(archive, source):
            if member.offset_data + member.size > end:
                raise DataError(f"{source}: member {member.name} is cut off: the tar is truncated")
            yield str(path), Extent(str(source), member.offset_data, member.size)
        check_end(stream, archive.offset, source)


class _BoundedGzip(gzip.GzipFile):
    """Ends where the content would grow past `limit` bytes, a header's claims included."""

    limit = 0

    def read(self, size: int | None = -1) -> bytes:
        self._check(self.tell() + (size or 0))
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, end: int) -> None:
        if end > self.limit:
            raise DataError(f"{self.name}: unpacks to more than {GROWTH} times its size; a bomb, or no benchmark")


def _of_gzip(source: Path, spool: Spool, progress: Progress) -> Iterator[tuple[str, Extent]]:
    size = source.stat().st_size
    spool.expect(size)
    with source.open("rb") as raw, _BoundedGzip(fileobj=raw, mode="rb") as plain:
        plain.limit = GROWTH * size + _SLACK
        with tarfile.open(fileobj=plain, mode="r:") as archive:
            for member, path in plain_members(archive, source):
                content = archive.extractfile(member)
                assert content is not None
                yield str(path), spool.add(content, member.size, f"{source}: member {member.name}")
                progress(raw.tell() >> 20, size >> 20)
            check_end(cast(BinaryIO, plain), archive.offset, source)
        while plain.read(_CHUNK):  # the checksum stands at the end
            pass


def _of_zip(source: Path, spool: Spool, progress: Progress) -> Iterator[tuple[str, Extent]]:
    with zipfile.ZipFile(source) as archive:
        members = [member for member in archive.infolist() if _is_plain(source, member)]
        total, done = sum(member.file_size for member in members), 0
        if total > GROWTH * source.stat().st_size + _SLACK:
            raise DataError(f"{source}: unpacks to more than {GROWTH} times its size; a bomb, or no benchmark")
        spool.expect(total)
        for member in members:
            where = f"{source}: member {member.filename}"
            with archive.open(member) as content:
                yield str(safe_path(member.filename, where)), spool.add(content, member.file_size, where)
            done += member.file_size
            progress(done >> 20, total >> 20)


def _is_plain(source: Path, member: zipfile.ZipInfo) -> bool:
    """True of a plain file, False of a folder; everything else is refused, a hostile name first."""
    where = f"{source}: member {member.filename}"
    safe_path(member.filename.replace("\\", "/"), where)
    if "\\" in member.filename:
        raise DataError(f"{where} has a backslash in its name")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{where} is a link or a special file; only plain files are read")
    if member.flag_bits & 1:
        raise DataError(f"{where} is encrypted")
    return not member.is_dir()
