"""Files that are whole or absent, rows as CSV, and locks between processes (across hosts where storage has flock)."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hlgp_dist.errors import DiskFull


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Where something is written there: what a full disk says names no place.

    Raises:
        DiskFull: it is, or a quota is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(error.errno, error.strerror, str(folder)) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` to write to; then sync, rename: a reader sees the old content or the new, never a part."""
    with filling(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        with filling(path.parent), aside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed writers left aside in a folder, which nobody writes to any more."""
    for path in sorted(folder.rglob(".*.aside"), reverse=True):  # what is inside before what it is in
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """The content, whole or in pieces; see replacing."""
    with replacing(path) as stream:
        stream.writelines([content] if isinstance(content, bytes) else content)


def write_text(path: Path, text: str) -> None:
    """See write_atomically."""
    write_atomically(path, text.encode())


def write_json(path: Path, content: object) -> None:
    """Indented, without NaN; see write_atomically."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of like or unlike keys; what a row has not stays empty."""
    text, columns = io.StringIO(), dict.fromkeys(key for row in rows for key in row)
    table = csv.DictWriter(text, fieldnames=list(columns) or ["trial"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def sync(path: Path) -> None:
    """Make a file that another library wrote durable, or the renames in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """`hlgp_dist` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hlgp_dist"


def file_sha256(path: Path) -> str:
    """Of a whole file, which may be larger than memory; read once a host as long as the file stays as it is.

    What was found is kept in the user's cache folder under the file's place, inode, length and time of change.
    """
    about = path.stat()
    told = f"{path.resolve()}\n{about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
    known = user_cache() / "sha256" / hashlib.sha256(told.encode()).hexdigest()
    with suppress(OSError):
        return known.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # a cache that cannot be written costs time only
        write_text(known, digest)
    return digest


@contextmanager
def locked(path: Path, *, blocking: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`; the kernel drops it when the holder dies.

    Raises:
        BlockingIOError: not blocking, and another process holds it.
    """
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        yield
