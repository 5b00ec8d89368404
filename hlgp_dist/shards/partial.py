"""The folder where shards are made: `.NAME.partial` beside what it becomes, one writer at a time, kept if killed."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import locked, sync


class Partial(NamedTuple):
    """tars: becomes the shard folder, by one rename; records: what is known of finished shards."""

    root: Path
    tars: Path
    records: Path

    def held(self) -> int:
        """Bytes of shards that are there already."""
        return sum(file.stat().st_size for file in self.tars.glob("*.tar"))

    def publish(self, destination: Path, names: Container[str]) -> None:
        """Give `tars` its name, after all but `names` is removed from it: shards of another plan."""
        for file in self.tars.iterdir():
            if file.name not in names:
                file.unlink()
        sync(self.tars)
        self.tars.rename(destination)
        sync(destination.parent)


@contextmanager
def claimed(destination: Path) -> Iterator[Partial]:
    """The locked partial folder of `destination`. It stays where an interrupted run left finished shards.

    Raises:
        ConfigError: another process is writing it.
    """
    root = _root(destination)
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
                if not any(partial.records.glob("*.npz")):
                    shutil.rmtree(root)
                raise
            shutil.rmtree(root)
    except BlockingIOError:
        raise ConfigError(f"{destination}: another process is writing it") from None


def remove_leftover(destination: Path) -> None:
    """What a process that was killed after its last rename left beside `destination`."""
    if _root(destination).exists():
        with claimed(destination):
            pass


def _root(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.partial")
