"""Decodes a whole class: blocks of neighbouring samples, by threads where there are any (decoding releases the GIL)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.class_store import Layout, Record
from hlgp_dist.data.decoding import Decoding
from hlgp_dist.data.source import BadSample

BLOCK_BYTES = 2**20
"""Of the shards."""
REASON_CHARACTERS = 200

Positions = NDArray[np.int64]
Sink = Callable[[int, NDArray[np.uint8]], int]
"""Takes the picture at a position of the class and gives its checksum."""


class Block(NamedTuple):
    """What became of some pictures of a class, by position: checksums, and what is wrong."""

    checksums: dict[int, int]
    bad: dict[int, BadSample]
    bytes_read: int


class Map(Protocol):
    """The built-in one, or an executor's."""

    def __call__(self, work: Callable[[Positions], Block], blocks: Iterable[Positions], /) -> Iterable[Block]: ...


@dataclass
class Counts:
    """What this process has done: pictures decoded, bytes read of the shards, stores that were damaged."""

    decoded: int = 0
    bytes_read: int = 0
    damaged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, decoded: int = 0, bytes_read: int = 0, damaged: int = 0) -> None:
        """From any thread."""
        with self.lock:
            self.decoded += decoded
            self.bytes_read += bytes_read
            self.damaged += damaged


@dataclass(frozen=True)
class Filling:
    """How classes are decoded. keeps_bad: bad samples are recorded, else the first is raised; cancelled: leave off."""

    counts: Counts
    keeps_bad: bool
    cancelled: threading.Event

    def keeps_bad_of(self, layout: Layout) -> bool:
        """Nothing that is tested may be missing."""
        return self.keeps_bad and layout.pixels.split_name == "train"

    def fill(self, layout: Layout, sink: Sink, run: Map) -> Record:
        """Give every good picture of the class to `sink`, block by block on `run`.

        Raises:
            BadSample: and bad ones are not kept.
            DataError: a shard is missing or cannot be read.
            CancelledError: as it says.
        """
        blocks = list(run(partial(self._block, layout, sink), _blocks(layout)))
        checksums = {position: checksum for block in blocks for position, checksum in block.checksums.items()}
        bad = {position: _printable(bad.reason) for block in blocks for position, bad in block.bad.items()}
        return Record(
            checksums=[checksums.get(position, 0) for position in range(len(layout))],
            bad=bad,
            bytes_read=sum(block.bytes_read for block in blocks),
            stamp=secrets.token_hex(8),
        )

    def _block(self, layout: Layout, sink: Sink, positions: Positions) -> Block:
        block = Block({}, {}, 0)
        decoding = Decoding(layout.pixels, layout.indices[positions])
        try:
            keeps_bad = self.keeps_bad_of(layout)
            for position, decoded in zip(positions.tolist(), decoding, strict=True):
                if self.cancelled.is_set():
                    raise CancelledError
                if not isinstance(decoded, BadSample):
                    block.checksums[position] = sink(position, decoded)
                elif keeps_bad:
                    block.bad[position] = decoded
                else:
                    raise decoded
        finally:
            self.counts.add(decoded=len(block.checksums), bytes_read=decoding.bytes_read)
        return block._replace(bytes_read=decoding.bytes_read)


def _blocks(layout: Layout) -> list[Positions]:
    """Positions 0 .. n - 1 in runs of about `BLOCK_BYTES`, and at least one sample."""
    sizes = layout.pixels.split.size[layout.indices]
    block = (np.cumsum(sizes) - sizes) // BLOCK_BYTES
    return np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(block)) + 1)


def _printable(reason: str) -> str:
    """ASCII of bounded length."""
    return reason.encode("ascii", "backslashreplace").decode()[:REASON_CHARACTERS]
