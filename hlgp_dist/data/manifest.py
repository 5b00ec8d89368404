"""`manifest.json`: what a shard folder holds and at which byte of which shard every sample lies.

Per sample the file keeps columns, not objects, so that a million samples stay a few tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.origin import Origin
from hlgp_dist.data.recipe import Recipe
from hlgp_dist.data.record import CHECKSUM_DIGITS

SCHEMA_VERSION = 2
SPLITS = ("train", "test")
MANIFEST = "manifest.json"
SIZES = "sizes.json"
DIGEST = "manifest.sha256"


COLUMNS: Mapping[str, Any] = {
    "key": np.bytes_,
    "class_index": np.int32,
    "shard": np.int32,
    "offset": np.int64,
    "size": np.int64,
    "width": np.int32,
    "height": np.int32,
    "checksum": f"S{CHECKSUM_DIGITS}",
}
"""What a split says of its samples, by the names that `Split` has, and their types there."""
SAMPLE_COLUMNS = tuple(name for name in COLUMNS if name != "shard")
"""What is known of a sample before its shard has a number."""
WRITTEN = {"class_index": "class"}
"""In the file, where a column has another name there."""


@dataclass(frozen=True)
class Shard:
    """One tar: its file name, length in bytes, checksum and number of samples."""

    name: str
    bytes: int
    sha256: str
    samples: int


@dataclass(frozen=True)
class Encoding:
    """What sharding did to the pictures' bytes: nothing, or `resize`, the shorter side's bound in pixels.

    quality: of the JPEGs that were encoded again, 1 to 100; None exactly where resize is.
    """

    resize: int | None = None
    quality: int | None = None


UNTOUCHED = Encoding()


@dataclass(frozen=True, eq=False)
class Split:
    """The N samples of a split in the order of its tars; those of a class are contiguous, classes ascending.

    key: bytes [N]; class_index: int32 [N], into the manifest's classes; shard: int32 [N], into `shards`;
    offset, size: int64 [N], the byte range of the sample's whole tar record; counts: int64 [C] samples a class.
    width, height: int32 [N], as the picture's file says, EXIF orientation not applied; checksum: bytes S16 [N], the
    first 16 hex digits of the tar record's SHA-256.
    """

    shards: tuple[Shard, ...]
    key: NDArray[np.bytes_]
    class_index: NDArray[np.int32]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    checksum: NDArray[np.bytes_]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key)

    def of_class(self, class_index: int) -> NDArray[np.int64]:
        """The samples of one class, ascending."""
        return np.arange(*span(self.class_index, class_index), dtype=np.int64)

    def column(self, name: str) -> NDArray[Any]:
        """One of COLUMNS."""
        return getattr(self, name)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Manifest:
    """A shard folder's content. `digest` identifies it; `source_hash` identifies the pictures it was made from.

    `origin` is what `hlgp data prepare` recorded, None for other folders; `recipe`: of pictures that are drawn.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    source_hash: str
    shard_bytes: int
    digest: str
    encoding: Encoding = UNTOUCHED
    origin: Origin | None = None
    recipe: Recipe | None = None

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """By the class's name."""
        return {name: index for index, name in enumerate(self.classes)}

    @property
    def prepared_from(self) -> str | None:
        """What is known of where the pictures come from."""
        known = self.origin or self.recipe
        return None if known is None else str(known)


def span(column: NDArray[np.int32], value: int) -> tuple[int, int]:
    """The first place of a value in an ascending column, and the one behind its last."""
    bounds = np.array([value, value + 1], dtype=column.dtype)  # of another type, numpy would cast all of the column
    start, stop = np.searchsorted(column, bounds)
    return int(start), int(stop)


def check_split(split: Split, num_classes: int) -> None:
    """Raise a ValueError that says what does not hold of all that a reader relies on."""
    require(len({len(split.column(name)) for name in COLUMNS}) == 1, "columns of different lengths")
    require(bool((split.width > 0).all() and (split.height > 0).all()), "a picture without width or height")
    require(all(PurePath(shard.name).name == shard.name for shard in split.shards), "a shard's name is a path")
    require(bool((np.diff(split.class_index) >= 0).all()), "the samples of a class are not contiguous")
    counts = np.bincount(split.class_index, minlength=num_classes)
    require(np.array_equal(counts, split.counts), "class counts do not match the samples")
    samples = np.bincount(split.shard, minlength=len(split.shards))
    require(np.array_equal(samples, [s.samples for s in split.shards]), "shard counts do not match the samples")
    require(len(np.unique(split.key)) == len(split), "a key is there twice")
    ends = np.array([shard.bytes for shard in split.shards], dtype=np.int64)[split.shard]
    inside = (split.offset >= 0) & (split.size > 0) & (split.offset + split.size <= ends)
    require(bool(inside.all()), "a sample lies outside its shard")
    is_next = (split.offset[1:] >= (split.offset + split.size)[:-1]) & (np.diff(split.shard) == 0)
    require(
        bool((is_next | (np.diff(split.shard) > 0)).all()), "samples overlap, or are not in the order of the shards"
    )


def require(holds: bool, otherwise: str) -> None:
    """Raise a ValueError that says `otherwise`."""
    if not holds:
        raise ValueError(otherwise)
