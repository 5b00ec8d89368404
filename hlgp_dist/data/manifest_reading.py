"""A shard folder's manifest as it lies there: fetched, checked in itself, and against the shards' lengths."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.fetch import fetch
from hlgp_dist.data.manifest import (
    COLUMNS,
    DIGEST,
    MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    WRITTEN,
    Encoding,
    Manifest,
    Shard,
    Split,
    check_split,
    require,
)
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.origin import parse_origin
from hlgp_dist.data.patience import Patience
from hlgp_dist.data.place import Facts, Place
from hlgp_dist.errors import DataError

_ASKED_AT_ONCE = 32
"""Shards, for their lengths."""
_latest: dict[str, Manifest] = {}
"""By its digest, the one that was parsed last: a command asks for the same one several times, and a million pictures
take seconds."""


def read_manifest(path: str | Path, *, cache: Cache | None = None) -> Manifest:
    """The manifest of the shard folder at a path or URL, whose shards all exist with their recorded lengths.

    cache: keeps copies of remote manifests; see `fetch`.

    Raises:
        ConfigError: see `open_place`.
        DataError: the folder, the manifest or a shard is missing, or they do not agree.
    """
    manifest = fetch_manifest(path, cache=cache)
    for problem in length_problems(path, manifest):
        raise DataError(problem)
    return manifest


def fetch_manifest(path: str | Path, *, cache: Cache | None = None, patience: Patience | None = None) -> Manifest:
    """The manifest alone, compared with `manifest.sha256` and checked in itself, but not against the shards."""
    with closing(open_place(path, patience)) as place:
        content = fetch(place, MANIFEST, _facts(place), digest_name=DIGEST, cache=cache)
        return parse_manifest(content, f"{place.url}/{MANIFEST}")


def unchecked_manifest(place: Place) -> Manifest:
    """As it lies there, whatever `manifest.sha256` says."""
    _facts(place)
    return parse_manifest(place.read(MANIFEST), f"{place.url}/{MANIFEST}")


def _facts(place: Place) -> Facts:
    facts = place.facts(MANIFEST)
    if facts is None:
        file = f"{place.url}/{MANIFEST}"
        raise DataError(f"{file}: no such shard folder, or no {MANIFEST} in it (`hlgp data shard` makes one)")
    return facts


def parse_manifest(content: bytes, file: str) -> Manifest:
    """What a file that messages call `file` says.

    Raises:
        DataError: it is no manifest, or does not agree with itself.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest in _latest:
        return _latest[digest]
    try:
        document = json.loads(content)
        version = document["schema_version"]
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{file}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}; shard it again"
            )
        manifest = _manifest(document, digest)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"{file}: not a valid manifest ({type(error).__name__}: {error})") from error
    _latest.clear()
    _latest[digest] = manifest
    return manifest


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
    require(list(classes) == sorted(set(classes)), "classes are not sorted and distinct")
    splits = {name: _split(document["splits"][name], len(classes)) for name in SPLITS}
    origin = parse_origin(document["origin"]) if "origin" in document else None
    encoding = _encoding(document["encoding"])
    return Manifest(classes, splits, document["source_hash"], document["shard_bytes"], digest, encoding, origin)


def _encoding(document: dict[str, Any]) -> Encoding:
    encoding = Encoding(**document)
    parts = (encoding.resize, encoding.quality)
    require(parts == (None, None) or all(isinstance(part, int) for part in parts), "encoding is half given")
    return encoding


def _split(document: dict[str, Any], num_classes: int) -> Split:
    shards = tuple(Shard(**shard) for shard in document["shards"])
    columns = document["samples"]
    split = Split(
        shards=shards,
        counts=np.array(document["counts"], dtype=np.int64),
        **{name: _column(name, columns[WRITTEN.get(name, name)]) for name in COLUMNS},
    )
    check_split(split, num_classes)
    return split


def _column(name: str, values: Any) -> NDArray[Any]:
    """A list's values; of checksums the text of all digits, one sample's after the other's."""
    if name != "checksum":
        return np.array(values, dtype=COLUMNS[name])
    require(re.fullmatch(r"([0-9a-f]{16})*", values) is not None, "checksums are not 16 hex digits a sample")
    return np.frombuffer(values.encode(), dtype=COLUMNS[name])
