"""Is a shard folder whole, and what is in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from hlgp_dist.data.manifest import SIZES, Manifest, Split, length_problems, parse_manifest, read_manifest
from hlgp_dist.data.origin import Origin
from hlgp_dist.data.place import Folder
from hlgp_dist.data.source import PICTURE_SUFFIXES, RangeSource
from hlgp_dist.data.writer import read_header
from hlgp_dist.errors import DataError

DECODED_EVERY = 16
_LISTED = 5


@dataclass(frozen=True)
class SplitInfo:
    """Pictures, shards and bytes of a split; the fewest and the most pictures of a class."""

    pictures: int
    shards: int
    bytes: int
    fewest: int
    most: int


@dataclass(frozen=True)
class Info:
    """A shard folder in numbers; `counts` are pictures a class and split."""

    classes: tuple[str, ...]
    splits: dict[str, SplitInfo]
    counts: dict[str, dict[str, int]]
    digest: str
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
    return Info(manifest.classes, splits, counts, manifest.digest, manifest.origin)


def _split_info(split: Split) -> SplitInfo:
    length = sum(shard.bytes for shard in split.shards)
    return SplitInfo(len(split), len(split.shards), length, int(split.counts.min()), int(split.counts.max()))


def verify(path: str | Path, *, workers: int | None = None) -> list[str]:
    """What is wrong with the shard folder: nothing, or one message each.

    Reads every byte: checksums, then each sample's key and label at its offset; every sixteenth picture is decoded.
    """
    folder = Path(path)
    try:
        manifest = parse_manifest(folder)
    except DataError as error:
        return [str(error)]
    problems = [*length_problems(folder, manifest), *_list_problems(folder, manifest)]
    shards = [(split, number) for split in manifest.splits.values() for number in range(len(split.shards))]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for found in pool.map(lambda shard: list(_shard_problems(folder, *shard)), shards):
            problems += found
    return problems


def _list_problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Tars that the manifest does not know, and a `sizes.json` that disagrees with it."""
    expected = {shard.name: shard.samples for split in manifest.splits.values() for shard in split.shards}
    for file in sorted(folder.glob("*.tar")):
        if file.name not in expected:
            yield f"{file}: not in the manifest"
    sizes = folder / SIZES
    try:
        if json.loads(sizes.read_bytes()) != expected:
            yield f"{sizes}: does not match the manifest"
    except (OSError, ValueError) as error:
        yield f"{sizes}: cannot be read ({error})"


def _shard_problems(folder: Path, split: Split, number: int) -> Iterator[str]:
    """Of one shard; where its length is wrong already, its samples tell nothing more."""
    shard = split.shards[number]
    file = folder / shard.name
    if not file.is_file() or file.stat().st_size != shard.bytes:
        return
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
            yield f"{file}: the checksum differs from the manifest's"
    yield from islice(_sample_problems(folder, split, number), _LISTED)


def _sample_problems(folder: Path, split: Split, number: int) -> Iterator[str]:
    for position, index in enumerate(np.flatnonzero(split.shard == number)):
        try:
            (sample,) = RangeSource(Folder(folder), split, np.array([index]))()
            if position % DECODED_EVERY == 0:
                read_header(next(sample[suffix] for suffix in PICTURE_SUFFIXES if suffix in sample))
        except DataError as error:
            yield str(error)
        except (OSError, SyntaxError, ValueError, StopIteration) as error:
            yield f"{folder / split.shards[number].name}: sample {split.key[index].decode()}: no picture ({error!r})"
