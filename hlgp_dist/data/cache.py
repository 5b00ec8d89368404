"""A bounded folder of files that any process of a host makes once and all of them read.

A file is made under another name and renamed: it is whole or absent. Who makes it holds an exclusive `flock` on it,
who reads it a shared one, for as long as the descriptor or a memory map of it is open, and the kernel drops both when
the process dies: what is locked is in use, what is not may go.

Meant for a local disk. Over NFS makers exclude each other too (as far as the mount has locks) and files are whole, but
the other promises do not hold between hosts: a map does not keep its lock there, so one host may evict what another
reads. Give each host a folder of its own.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.data.room import FULL, PARTIAL, SUFFIX, NoRoom, Room, is_at, open_locked
from hlgp_dist.files import user_cache

Write = Callable[[int], int]
"""Fills an open file and returns the length that it is to have."""


class Held(NamedTuple):
    """An open descriptor, the caller's to close, of a file that stays until then; made: whether this call made it."""

    descriptor: int
    made: bool


class Cache:
    """The folder, `None` for the user's. `limit_bytes` bounds all its files together; `None`: a twentieth of the disk
    stays free.
    """

    def __init__(self, folder: str | Path | None, limit_bytes: int | None) -> None:
        self.folder = Path(folder or default_cache_dir())
        self.folder.mkdir(parents=True, exist_ok=True)
        self._room = Room(self.folder, limit_bytes)

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
                if error.errno in FULL:
                    raise NoRoom(f"{size} bytes in {self.folder}") from error
                raise
        return Held(descriptor, made=False)

    def discard(self, name: str, descriptor: int) -> None:
        """Take the file away, unless it is another by now; those who read it go on."""
        with self._room.locked():
            if is_at(descriptor, self._path(name)):
                self._path(name).unlink()

    def activity(self) -> dict[str, int]:
        """When each file in the making was last written to, in nanoseconds; read now and then, by any thread."""
        return {path.name: path.stat().st_mtime_ns for path in self.folder.glob(f"*{PARTIAL}")}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _partial(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}{PARTIAL}"

    def _ready(self, name: str) -> int | None:
        """The whole file with a shared lock, noted as used now."""
        path = self._path(name)
        while path.exists():
            with suppress(FileNotFoundError):
                descriptor = open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
                if is_at(descriptor, path):
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
        with self._room.locked():  # or one who makes room would take it for a dead maker's before it is locked
            try:
                descriptor = open_locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
            else:
                if is_at(descriptor, path):
                    return descriptor
                os.close(descriptor)
                return None
        with suppress(FileNotFoundError):
            os.close(open_locked(path, os.O_RDWR, fcntl.LOCK_SH))  # which all who wait are given at once
        return None

    def _make(self, name: str, size: int, write: Write, descriptor: int) -> bool:
        """Under the partial file's lock; False where another was faster. Without success nothing is left."""
        path, partial, made = self._path(name), self._partial(name), False
        try:
            if not path.exists():
                self._room.reserve(descriptor, size)
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


def _note_use(descriptor: int) -> None:
    """In the file's time of modification, finer than the kernel's own clock for it."""
    now = time.time_ns()
    with suppress(PermissionError):  # another user's
        os.utime(descriptor, ns=(now, now))


def default_cache_dir() -> Path:
    """`hlgp_dist/stores` in the user's cache folder."""
    return user_cache() / "stores"
