"""A folder, wherever it lies: whole files and exact byte ranges of them."""

from __future__ import annotations

import errno
import io
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from hlgp_dist.data.patience import Attempts, Patience, Transient
from hlgp_dist.errors import DataError

_PASSING = (errno.EIO, errno.ESTALE)
"""What NFS answers while its server is away, or after a file was replaced; a new `open` may succeed."""
_PIECE_BYTES = 2**22


class Facts(NamedTuple):
    """What is known of a file without reading it: bytes, and what a server gives another content another one of.

    modified: seconds since the epoch, where a store says so.
    """

    size: int
    version: str | None
    modified: float | None = None


class Place(Protocol):
    """A folder of files, none of which changes while it is read. Threads may read at once.

    url: the folder as messages name it. rereads: how often bytes that are not the manifest's are worth reading again.
    """

    url: str
    rereads: int

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes `start .. start + length - 1` of a file, exactly; without `length`, up to its end.

        Raises:
            DataError: naming file and cause: it is missing, shorter, or must not be read.
            Unreachable: likewise: it could not be read in any attempt.
            ConfigError: what the environment says of the server cannot be right.
        """

    def facts(self, name: str) -> Facts | None:
        """Of a file; None where there is none.

        Raises:
            DataError, Unreachable, ConfigError: they could not be found out; see `read`.
        """

    def close(self) -> None:
        """End all reads, those under way too, with an error. Nothing can be read afterwards."""


class Folder:
    """A local folder, or one that is mounted."""

    rereads = 0

    def __init__(self, folder: Path, patience: Patience | None = None) -> None:
        self.folder = folder
        self.url = str(folder)
        self._attempts = Attempts(patience or Patience())

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        file = self.folder / name
        content = self._attempts(str(file), partial(_read, file, start, length))
        if length is not None and len(content) != length:
            raise DataError(f"{file}: truncated: {len(content)} bytes instead of {length} at byte {start}")
        return content

    def facts(self, name: str) -> Facts | None:
        file = self.folder / name
        return self._attempts(str(file), partial(_facts, file))

    def close(self) -> None:
        self._attempts.closed.set()


def streamed(place: Place, name: str) -> BinaryIO:
    """The file from its beginning, in pieces.

    Raises:
        DataError, Unreachable: see `Place.read`; here, and while it is read.
    """
    return io.BufferedReader(_Stream(place, name), _PIECE_BYTES)


class _Stream(io.RawIOBase):
    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        facts = place.facts(name)
        self._at, self._size = 0, facts.size if facts is not None else 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        content = self._place.read(self._name, self._at, min(len(buffer), self._size - self._at))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _read(file: Path, start: int, length: int | None) -> bytes:
    """As many of the bytes as there are."""
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            return stream.read() if length is None else stream.read(length)
    except OSError as error:
        raise _judged(file, error) from error


def _facts(file: Path) -> Facts | None:
    try:
        return Facts(file.stat().st_size, None) if file.is_file() else None
    except FileNotFoundError:  # in between
        return None
    except OSError as error:
        raise _judged(file, error) from error


def _judged(file: Path, error: OSError) -> Exception:
    if error.errno in _PASSING:
        return Transient(str(error))
    return DataError(f"{file}: cannot be read ({error})")
