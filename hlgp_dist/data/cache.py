"""A bounded folder of files that any process of a host makes once and all of them read.

A file is made under another name and renamed: it is whole or absent. Who makes it holds an exclusive `flock` on it,
who reads it a shared one, for as long as the descriptor or a memory map of it is open, and the kernel drops both when
the process dies: what is locked is in use, what is not may go.

Meant for a local disk. Over NFS makers exclude each other too (as far as the mount has locks) and files are whole, but
the other promises do not hold between hosts: a map does not keep its lock there, so one host may evict what another
reads. Give each host a folder of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.files import locked

SUFFIX = ".store"
PARTIAL = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPARE = 20
"""One part of so many of the disk is left free."""
_SPARE_BYTES = 2**30
"""As much at most where the limit was given by hand."""

File = tuple[Path, os.stat_result]
Write = Callable[[int], int]
"""Fills an open file and returns the length that it is to have."""


class NoRoom(Exception):
    """What is in use, the limit and the disk leave too little."""


class Held(NamedTuple):
    """An open descriptor, the caller's to close, of a file that stays until then; made: whether this call made it."""

    descriptor: int
    made: bool


class Cache:
    """The folder. `limit_bytes` bounds all files together; `None`: a twentieth of the disk stays free."""

    def __init__(self, folder: Path, limit_bytes: int | None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def obtain(self, name: str, size: int, write: Write, *, wait: bool = True) -> Held | None:
        """The file `name`; if nobody has made it, `write` does, into `size` bytes that are its own beforehand.

        None where another is making it and `wait` is False.

        Raises:
            NoRoom: there is too little, even without all that is not in use.
        """
        while (descriptor := self._ready(name)) is None:
            try:
                partial = self._lock_partial(name, wait=wait)
                if partial is not None and self._make(name, size, write, partial):
                    return Held(partial, made=True)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _FULL:
                    raise NoRoom(f"{size} bytes in {self.folder}") from error
                raise
        return Held(descriptor, made=False)

    def discard(self, name: str, descriptor: int) -> None:
        """Take the file away, unless it is another by now; those who read it go on."""
        with self._locked():
            if _is_at(descriptor, self._path(name)):
                self._path(name).unlink()

    def used(self) -> int:
        """Bytes of all files, those in the making included."""
        return sum(status.st_size for _, status in self._files())

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _partial(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}{PARTIAL}"

    def _ready(self, name: str) -> int | None:
        """The whole file with a shared lock, noted as used now."""
        path = self._path(name)
        while path.exists():
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if _is_at(descriptor, path):
                    _note_use(descriptor)
                    return descriptor
                os.close(descriptor)
        return None

    def _lock_partial(self, name: str, *, wait: bool) -> int | None:
        """The file in the making, locked; None where that may have changed: look again.

        Raises:
            BlockingIOError: another has it, and `wait` is False; else that is waited for.
        """
        path = self._partial(name)
        with self._locked():  # or one who makes room would take it for a dead maker's before it is locked
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path):
                    return descriptor
            except BlockingIOError:
                if not wait:
                    os.close(descriptor)
                    raise
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # which all who wait are given at once
        os.close(descriptor)
        return None

    def _make(self, name: str, size: int, write: Write, descriptor: int) -> bool:
        """Under the partial file's lock; False where another was faster. Without success nothing is left."""
        path, partial, made = self._path(name), self._partial(name), False
        try:
            if not path.exists():
                self._reserve(descriptor, size)
                os.ftruncate(descriptor, write(descriptor))
                partial.rename(path)
                made = True
        finally:
            if made:
                _note_use(descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            else:
                partial.unlink(missing_ok=True)
                os.close(descriptor)
        return made

    def _reserve(self, descriptor: int, size: int) -> None:
        """Give the open file its blocks, so that writing cannot fill the disk. What dead makers left goes anyhow."""
        os.ftruncate(descriptor, 0)  # a dead maker's
        with self._locked():
            files = sorted(self._files(), key=lambda file: file[1].st_mtime_ns)
            for file in files:
                if file[0].name.endswith(PARTIAL):
                    _remove_unused([file], 0)
            longest_unused = iter(files)
            while not self._allocate(descriptor, size):
                if not _remove_unused(longest_unused, size - self._room()):
                    raise NoRoom(f"{size} bytes in {self.folder}")

    def _allocate(self, descriptor: int, size: int) -> bool:
        if size > self._room():
            return False
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            os.ftruncate(descriptor, 0)
            return False
        return True

    def _room(self) -> int:
        disk = shutil.disk_usage(self.folder)
        spare = disk.total // _SPARE
        if self.limit_bytes is None:
            return disk.free - spare
        return min(self.limit_bytes - self.used(), disk.free - min(spare, _SPARE_BYTES))

    def _files(self) -> list[File]:
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((SUFFIX, SUFFIX + PARTIAL)):
                with suppress(FileNotFoundError):
                    found.append((Path(entry.path), entry.stat()))
        return found

    def _locked(self) -> AbstractContextManager[None]:
        """One at a time makes room."""
        return locked(self.folder / ".lock")


def _note_use(descriptor: int) -> None:
    """In the file's time of modification, finer than the kernel's own clock for it."""
    now = time.time_ns()
    with suppress(PermissionError):  # another user's
        os.utime(descriptor, ns=(now, now))


def _is_at(descriptor: int, path: Path) -> bool:
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
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    locks.callback(os.close, descriptor)
    return _is_at(descriptor, path)
