"""Where a picture's bytes are before sharding: a range of a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from hlgp_dist.errors import DataError


class Extent(NamedTuple):
    """The bytes `file[offset : offset + size]`."""

    file: str
    offset: int
    size: int

    @classmethod
    def whole(cls, file: Path) -> Self:
        """All of a file, as long as it is now."""
        return cls(str(file), 0, file.stat().st_size)

    def read(self, most: int | None = None) -> bytes:
        """The first `most` bytes, all by default.

        Raises:
            DataError: there is no such file, or it holds fewer than when it was listed.
        """
        file = Path(self.file)
        if (problem := file_problem(file)) is not None:
            raise DataError(f"{file}: {problem}")
        length = self.size if most is None else min(most, self.size)
        with file.open("rb") as stream:
            stream.seek(self.offset)
            data = stream.read(length)
        if len(data) != length:
            raise DataError(f"{self.file} became shorter while it was read")
        return data


def file_problem(path: Path) -> str | None:
    """Why there is nothing to be read; None of a plain file, or a link to one. To open a pipe would wait for ever."""
    if path.is_file():
        return None
    if path.exists():
        return "a folder, not a file" if path.is_dir() else "a pipe, a socket or a device, not a file"
    return "a link to nothing" if path.is_symlink() else "no such file"
