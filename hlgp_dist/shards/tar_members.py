"""A tar's plain files, read without believing it: no name leaves its folder, no link is followed."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hlgp_dist.errors import DataError


def plain_members(archive: tarfile.TarFile, source: Path) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Every plain file with its path, folders left out. What was yielded is forgotten: a tar may have millions.

    Raises:
        DataError: a member's name leaves the archive's folder, or it is a link or a device.
    """
    for member in archive:
        archive.members.clear()  # type: ignore[attr-defined]
        where = f"{source}: member {member.name}"
        path = safe_path(member.name, where)
        if is_plain(member, where):
            yield member, path


def safe_path(name: str, where: str) -> PurePosixPath:
    """A member's path, checked before anyone trusts it: nothing that leaves the archive's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where} leaves the folder it is in")
    return path


def is_plain(member: tarfile.TarInfo, where: str) -> bool:
    """True of a plain file, False of a folder; a link or a device is refused."""
    if member.isdir():
        return False
    if not member.isreg() or member.issparse():
        raise DataError(f"{where} is a link or a special file; only plain files are read")
    return True


def check_end(stream: BinaryIO, offset: int, source: Path) -> None:
    """`tarfile` takes a tar that is cut between two members for a whole one; a whole one ends in zeros."""
    stream.seek(offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{source}: the tar is truncated")
