"""The folder where shards are made: `.NAME.partial` beside what it becomes, one writer at a time, kept if killed."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import locked, sync

RECORD = ".npz"
"""After a shard's name, that of what is known of it."""


class Partial(NamedTuple):
    """tars: becomes the shard folder, by one rename; records: what is known of finished shards."""

    root: Path
    tars: Path
    records: Path

    def held(self) -> int:
        """Bytes of shards that are there already."""
        return sum(file.stat().st_size for file in self.tars.glob("*.tar"))

    def keep(self, names: Container[str]) -> None:
        """Remove the tars and records of all other shards: those of another plan, which take room for nothing."""
        for file in (*self.tars.iterdir(), *self.records.iterdir()):
            if file.name.removesuffix(RECORD) not in names:
                file.unlink()

    def publish(self, destination: Path) -> None:
        """Give `tars` its name."""
        sync(self.tars)
        self.tars.rename(destination)
        sync(destination.parent)


@contextmanager
def claimed(destination: Path) -> Iterator[Partial]:
    """The locked partial folder of `destination`. It stays where an interrupted run left finished shards.

    Raises:
        ConfigError: another process is writing it.
    """
    root = partial_root(destination)
    partial = Partial(root, root / "tars", root / "records")
    partial.tars.mkdir(parents=True, exist_ok=True)
    partial.records.mkdir(exist_ok=True)
    try:
        with locked(root / "lock", blocking=False):
            for aside in partial.tars.glob(".*"):  # which a killed writer was at
                aside.unlink()
            try:
                yield partial
            except DataError:
                shutil.rmtree(root)
                raise
            except BaseException:
                if not any(partial.records.glob(f"*{RECORD}")):
                    shutil.rmtree(root)
                raise
            shutil.rmtree(root)
    except BlockingIOError:
        raise ConfigError(f"{destination}: another process is writing it") from None


def remove_leftover(destination: Path) -> None:
    """What a process that was killed after its last rename left beside `destination`."""
    if partial_root(destination).exists():
        with claimed(destination):
            pass


def partial_root(destination: Path) -> Path:
    """Where the shards of `destination` are made."""
    return destination.with_name(f".{destination.name}.partial")
