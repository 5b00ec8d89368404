"""What is in a shard folder, out of its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.manifest import UNTOUCHED, Encoding, Split
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.origin import Origin


@dataclass(frozen=True)
class Range:
    """The least, the median and the largest of some numbers; all 0 of none."""

    low: int
    median: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low} / {self.median} / {self.high}"


@dataclass(frozen=True)
class SplitInfo:
    """Pictures, shards and bytes of a split; the fewest and the most pictures of a class; sizes in pixels."""

    pictures: int
    shards: int
    bytes: int
    fewest: int
    most: int
    width: Range
    height: Range


@dataclass(frozen=True)
class Info:
    """A shard folder in numbers; `counts` are pictures a class and split."""

    classes: tuple[str, ...]
    splits: dict[str, SplitInfo]
    counts: dict[str, dict[str, int]]
    digest: str
    encoding: Encoding = UNTOUCHED
    origin: Origin | None = None


def info(path: str | Path) -> Info:
    """Counts and sizes out of the manifest.

    Raises:
        DataError: see `read_manifest`.
    """
    manifest = read_manifest(path)
    splits = {name: _split_info(split) for name, split in manifest.splits.items()}
    counts = {
        class_name: {name: int(split.counts[index]) for name, split in manifest.splits.items()}
        for index, class_name in enumerate(manifest.classes)
    }
    return Info(manifest.classes, splits, counts, manifest.digest, manifest.encoding, manifest.origin)


def _split_info(split: Split) -> SplitInfo:
    return SplitInfo(
        pictures=len(split),
        shards=len(split.shards),
        bytes=sum(shard.bytes for shard in split.shards),
        fewest=int(split.counts.min()),
        most=int(split.counts.max()),
        width=_range(split.width),
        height=_range(split.height),
    )


def _range(values: NDArray[np.int32]) -> Range:
    if not len(values):
        return Range(0, 0, 0)
    return Range(int(values.min()), int(np.median(values)), int(values.max()))
