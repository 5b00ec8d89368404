"""Which sample goes to which byte of which shard: decided from names and sizes alone, before any picture is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from hlgp_dist.data.listing import Picture
from hlgp_dist.data.record import TRAILER, record_size


class PlannedSample(NamedTuple):
    """A picture with its place: the record takes bytes `offset .. offset + size - 1` of its shard."""

    picture: Picture
    key: str
    class_index: int
    offset: int
    size: int


class PlannedShard(NamedTuple):
    """One tar to be written; `bytes` includes the end-of-archive blocks."""

    name: str
    split: str
    samples: tuple[PlannedSample, ...]
    bytes: int


def sample_key(picture: Picture) -> str:
    """A key without periods, distinct even where stems repeat, and the same whatever else the source holds."""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", PurePosixPath(picture.name).stem)[:40]
    digest = hashlib.sha256(b"\0".join(os.fsencode(part) for part in picture[:3]))
    return f"{stem}-{digest.hexdigest()[:16]}"


def companions(picture: Picture, class_index: int) -> tuple[tuple[str, bytes], ...]:
    """What stands beside the picture, by member suffix: the label, and class name and origin for a human."""
    origin = {"class": picture.class_name, "path": picture.name, "split": picture.split}
    return ("cls", str(class_index).encode()), ("json", json.dumps(origin).encode())


def plan_shards(
    pictures: Iterable[Picture], classes: tuple[str, ...], *, split: str, shard_bytes: int
) -> list[PlannedShard]:
    """Fill shards up to `shard_bytes` in the given order; a larger sample gets a shard of its own."""
    index = {name: position for position, name in enumerate(classes)}
    groups: list[list[PlannedSample]] = []
    end = shard_bytes
    for picture in pictures:
        class_index = index[picture.class_name]
        beside = companions(picture, class_index)
        size = record_size([picture.size, *(len(data) for _, data in beside)])
        if not groups or end + size + len(TRAILER) > shard_bytes:
            groups.append([])
            end = 0
        groups[-1].append(PlannedSample(picture, sample_key(picture), class_index, end, size))
        end += size
    return list(_named(groups, split))


def _named(groups: list[list[PlannedSample]], split: str) -> Iterator[PlannedShard]:
    for number, samples in enumerate(groups):
        length = samples[-1].offset + samples[-1].size + len(TRAILER)
        yield PlannedShard(f"{split}-{number:06d}.tar", split, tuple(samples), length)
