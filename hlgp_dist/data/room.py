"""Space for files in a bounded folder: taken before a byte is written, by removing what nobody has locked."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from hlgp_dist.files import locked

SUFFIX = ".store"
PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPARE = 20
"""One part of so many of the disk is left free."""
_SPARE_BYTES = 2**30
"""As much at most where the limit was given by hand."""

File = tuple[Path, os.stat_result]


class NoRoom(Exception):
    """What is in use, the limit and the disk leave too little."""


class Room:
    """Of the files `*.store` and `*.store.partial` of a folder; see `Cache`."""

    def __init__(self, folder: Path, limit_bytes: int | None) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def locked(self) -> AbstractContextManager[None]:
        """One at a time makes room."""
        return locked(self._folder / ".lock")

    def reserve(self, descriptor: int, size: int) -> None:
        """Give the open file its blocks, so that writing cannot fill the disk. What dead makers left goes first.

        Raises:
            NoRoom: as it says.
        """
        os.ftruncate(descriptor, 0)  # a dead maker's
        with self.locked():
            if self._limit_bytes is None and self._allocate(descriptor, size):  # thousands of files need not be asked
                return
            files = sorted(self._files(), key=lambda file: file[1].st_mtime_ns)
            for file in files:
                if file[0].name.endswith(PARTIAL):
                    _remove_unused([file], 0)
            longest_unused = iter(files)
            while not self._allocate(descriptor, size):
                if not _remove_unused(longest_unused, size - self._free()):
                    raise NoRoom(f"{size} bytes in {self._folder}")

    def used(self) -> int:
        """Bytes of all files, those in the making included."""
        return sum(status.st_size for _, status in self._files())

    def _allocate(self, descriptor: int, size: int) -> bool:
        if size > self._free():
            return False
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in FULL:
                raise
            os.ftruncate(descriptor, 0)
            return False
        return True

    def _free(self) -> int:
        disk = shutil.disk_usage(self._folder)
        spare = disk.total // _SPARE
        if self._limit_bytes is None:
            return disk.free - spare
        return min(self._limit_bytes - self.used(), disk.free - min(spare, _SPARE_BYTES))

    def _files(self) -> list[File]:
        found = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith((SUFFIX, SUFFIX + PARTIAL)):
                with suppress(FileNotFoundError):
                    found.append((Path(entry.path), entry.stat()))
        return found


def open_locked(path: Path, flags: int, lock: int) -> int:
    """A descriptor whose file is locked by `flock`."""
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, lock)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_unused(files: Iterable[File], size: int) -> bool:
    """Remove the first that nobody has locked, as many as hold `size` bytes and at least one; else, and none, False."""
    with ExitStack() as locks:
        victims: list[File] = []
        for path, status in files:
            if _lock_unused(path, locks):
                victims.append((path, status))
            if victims and sum(status.st_size for _, status in victims) >= size:
                for path, _ in victims:
                    path.unlink()
                return True
    return False


def _lock_unused(path: Path, locks: ExitStack) -> bool:
    """Whether it is locked now; it is not where anybody else has it locked, or it is not ours to take."""
    try:
        descriptor = open_locked(path, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    locks.callback(os.close, descriptor)
    return is_at(descriptor, path)
