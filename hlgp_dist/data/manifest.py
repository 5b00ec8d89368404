"""`manifest.json`: what a shard folder holds and at which byte of which shard every sample lies.

Per sample the file keeps columns, not objects, so that a million samples stay a few tens of megabytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.fetch import fetch
from hlgp_dist.data.origin import Origin, parse_origin
from hlgp_dist.data.place import open_place
from hlgp_dist.data.record import CHECKSUM_DIGITS
from hlgp_dist.errors import DataError

SCHEMA_VERSION = 2
SPLITS = ("train", "test")
MANIFEST = "manifest.json"
SIZES = "sizes.json"
DIGEST = "manifest.sha256"
_ASKED_AT_ONCE = 32
"""Shards, for their lengths."""


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


@dataclass(frozen=True, eq=False)
class Manifest:
    """A shard folder's content. `digest` identifies it; `source_hash` identifies the pictures it was made from.

    `origin` is what `hlgp data prepare` recorded, None for other folders.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    source_hash: str
    shard_bytes: int
    digest: str
    encoding: Encoding = UNTOUCHED
    origin: Origin | None = None


def read_manifest(path: str | Path, *, cache: Cache | None = None) -> Manifest:
    """The manifest of the shard folder at a path or URL, whose shards all exist with their recorded lengths.

    cache: keeps copies of remote manifests; see `fetch`.

    Raises:
        ConfigError: see `open_place`.
        DataError: the folder, the manifest or a shard is missing, or they do not agree.
    """
    manifest = parse_manifest(path, cache=cache)
    for problem in length_problems(path, manifest):
        raise DataError(problem)
    return manifest


def parse_manifest(path: str | Path, *, cache: Cache | None = None) -> Manifest:
    """The manifest alone, checked in itself but not against the shards."""
    with closing(open_place(path)) as place:
        file = f"{place.url}/{MANIFEST}"
        facts = place.facts(MANIFEST)
        if facts is None:
            raise DataError(f"{file}: no such shard folder, or no {MANIFEST} in it (`hlgp data shard` makes one)")
        content = fetch(place, MANIFEST, facts, digest_name=DIGEST, cache=cache)
    try:
        document = json.loads(content)
        version = document["schema_version"]
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{file}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}; shard it again"
            )
        return _manifest(document, hashlib.sha256(content).hexdigest())
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"{file}: not a valid manifest ({type(error).__name__}: {error})") from error


def length_problems(path: str | Path, manifest: Manifest) -> Iterator[str]:
    """One message for every shard that is missing or has another length than recorded."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool, closing(open_place(path)) as place:
        for shard, facts in zip(shards, pool.map(lambda shard: place.facts(shard.name), shards), strict=True):
            file = f"{place.url}/{shard.name}"
            if facts is None:
                yield f"{file}: the shard is missing"
            elif facts.size != shard.bytes:
                what = "truncated" if facts.size < shard.bytes else "too long"
                yield f"{file}: the shard is {what}: {facts.size} bytes, the manifest says {shard.bytes}"


def _manifest(document: dict[str, Any], digest: str) -> Manifest:
    classes = tuple(document["classes"])
    _require(list(classes) == sorted(set(classes)), "classes are not sorted and distinct")
    splits = {name: _split(document["splits"][name], len(classes)) for name in SPLITS}
    origin = parse_origin(document["origin"]) if "origin" in document else None
    encoding = _encoding(document["encoding"])
    return Manifest(classes, splits, document["source_hash"], document["shard_bytes"], digest, encoding, origin)


def _encoding(document: dict[str, Any]) -> Encoding:
    encoding = Encoding(**document)
    parts = (encoding.resize, encoding.quality)
    _require(parts == (None, None) or all(isinstance(part, int) for part in parts), "encoding is half given")
    return encoding


def _split(document: dict[str, Any], num_classes: int) -> Split:
    shards = tuple(Shard(**shard) for shard in document["shards"])
    columns = document["samples"]
    split = Split(
        shards=shards,
        key=np.array(columns["key"], dtype=np.bytes_),
        class_index=np.array(columns["class"], dtype=np.int32),
        shard=np.array(columns["shard"], dtype=np.int32),
        offset=np.array(columns["offset"], dtype=np.int64),
        size=np.array(columns["size"], dtype=np.int64),
        width=np.array(columns["width"], dtype=np.int32),
        height=np.array(columns["height"], dtype=np.int32),
        checksum=_checksums(columns["checksum"]),
        counts=np.array(document["counts"], dtype=np.int64),
    )
    check_split(split, num_classes)
    return split


def _checksums(text: str) -> NDArray[np.bytes_]:
    """All samples' digits, one after the other, as an array S16 [N]."""
    _require(re.fullmatch(r"([0-9a-f]{16})*", text) is not None, "checksums are not 16 hex digits a sample")
    return np.frombuffer(text.encode(), dtype=f"S{CHECKSUM_DIGITS}")


def check_split(split: Split, num_classes: int) -> None:
    """Raise a ValueError that says what does not hold of all that a reader relies on."""
    columns = (split.key, split.class_index, split.shard, split.offset, split.size)
    about = (split.width, split.height, split.checksum)
    _require(len({len(column) for column in columns + about}) == 1, "columns of different lengths")
    _require(bool((split.width > 0).all() and (split.height > 0).all()), "a picture without width or height")
    _require(all(PurePath(shard.name).name == shard.name for shard in split.shards), "a shard's name is a path")
    _require(bool((np.diff(split.class_index) >= 0).all()), "the samples of a class are not contiguous")
    counts = np.bincount(split.class_index, minlength=num_classes)
    _require(np.array_equal(counts, split.counts), "class counts do not match the samples")
    samples = np.bincount(split.shard, minlength=len(split.shards))
    _require(np.array_equal(samples, [s.samples for s in split.shards]), "shard counts do not match the samples")
    _require(len(np.unique(split.key)) == len(split), "a key is there twice")
    ends = np.array([shard.bytes for shard in split.shards], dtype=np.int64)[split.shard]
    inside = (split.offset >= 0) & (split.size > 0) & (split.offset + split.size <= ends)
    _require(bool(inside.all()), "a sample lies outside its shard")
    is_next = (split.offset[1:] >= (split.offset + split.size)[:-1]) & (np.diff(split.shard) == 0)
    _require(
        bool((is_next | (np.diff(split.shard) > 0)).all()), "samples overlap, or are not in the order of the shards"
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
