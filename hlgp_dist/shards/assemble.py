"""The manifest of a finished partial folder, out of the records of its shards, one of which is in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.manifest import SAMPLE_COLUMNS, SPLITS, Shard, Split
from hlgp_dist.shards.finished import SAMPLE, Finished, load_finished
from hlgp_dist.shards.listing import Picture
from hlgp_dist.shards.partial import Partial
from hlgp_dist.shards.writer import record_file

_NONE = np.zeros(0, SAMPLE)


def assembled(partial: Partial, names: Sequence[str], num_classes: int) -> dict[str, Split]:
    """The splits of the shards `names`."""
    splits = {}
    for split in SPLITS:
        own = [name for name in names if name.startswith(f"{split}-")]
        splits[split] = _split(own, (_finished(partial, name) for name in own), num_classes)
    return splits


def recorded_hash(partial: Partial, names: Sequence[str], pictures: Iterable[Picture]) -> str:
    """`source_hash` of the pictures as they were when their shards were written."""
    return source_hash(pictures, (_finished(partial, name).samples["source"].tobytes() for name in names))


def source_hash(pictures: Iterable[Picture], digests: Iterable[bytes]) -> str:
    """Identifies names, classes, splits and bytes, whatever kind of source they came from.

    `digests` are those of the pictures in their order, 32 bytes each, many together.
    """
    whole = hashlib.sha256()
    each = (block[start : start + 32] for block in digests for start in range(0, len(block), 32))
    for picture, digest in zip(pictures, each, strict=True):
        whole.update(bytes(picture.names) + b"\0" + digest)
    return whole.hexdigest()


def _finished(partial: Partial, name: str) -> Finished:
    finished = load_finished(record_file(partial.records, name))
    assert finished is not None
    return finished


def _split(names: Sequence[str], records: Iterable[Finished], num_classes: int) -> Split:
    shards: list[Shard] = []
    columns: dict[str, list[NDArray[Any]]] = {column: [_NONE[column]] for column in SAMPLE_COLUMNS}
    for name, finished in zip(names, records, strict=True):
        shards.append(Shard(name, finished.bytes, finished.sha256, len(finished.samples)))
        for column, parts in columns.items():
            parts.append(finished.samples[column].copy())
    whole = {column: np.concatenate(columns.pop(column)) for column in SAMPLE_COLUMNS}
    lengths = np.array([shard.samples for shard in shards], dtype=np.int64)
    return Split(
        shards=tuple(shards),
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), lengths),
        counts=np.bincount(whole["class_index"], minlength=num_classes),
        **whole,
    )
