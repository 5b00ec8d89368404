"""Where what was packed in an archive waits for sharding: one nameless file."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.shards.extent import Extent

_CHUNK = 1 << 20


class Spool:
    """An unlinked file: it has no name that an archive could choose, and the kernel removes it however we end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._file = f"/proc/{os.getpid()}/fd/{self._stream.fileno()}"  # for the processes that shard it, too
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()

    def expect(self, size: int) -> None:
        """Refuse now what the disk cannot take later."""
        if (free := shutil.disk_usage(self._folder).free) < size:
            raise EnvironmentFailure(f"{self._folder}: {size} bytes to unpack do not fit into {free} free bytes")

    def add(self, stream: IO[bytes], size: int, where: str) -> Extent:
        """Copy exactly `size` bytes of `stream`; `where` is what a message names."""
        start = self._end
        while (left := start + size - self._end) > 0:
            if not (chunk := stream.read(min(left, _CHUNK))):
                raise DataError(f"{where} is cut off: the archive is truncated")
            self._write(chunk)
        return Extent(self._file, start, size)

    def add_bytes(self, content: bytes) -> Extent:
        """As `add`, of what is in memory."""
        return self.add(BytesIO(content), len(content), "")

    def _write(self, chunk: bytes) -> None:
        try:
            self._stream.write(chunk)
            self._stream.flush()  # readers open the file anew
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise EnvironmentFailure(f"{self._folder}: the disk is full") from error
        self._end += len(chunk)
