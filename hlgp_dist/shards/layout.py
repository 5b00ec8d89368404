"""Which sample goes into which shard: decided from names and sizes alone, before any picture is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hlgp_dist.data.record import TRAILER, record_size
from hlgp_dist.shards.listing import Picture

SHARD_SAMPLES = 16_384
"""No shard has more, so that millions of thumbnails are many tasks and none of them a large one."""
COMPANION_BLOCKS = 5
"""What a sample's tar record has beside the picture's data: three headers, the label, the origin of usual length."""


class PlannedSample(NamedTuple):
    """A picture and the index of its class."""

    picture: Picture
    class_index: int


class PlannedShard(NamedTuple):
    """One tar to be written."""

    name: str
    samples: tuple[PlannedSample, ...]

    def digest(self, encoding: object) -> str:
        """What the tar's bytes follow from, but for the pictures' own; `encoding` as it is printed."""
        whole = hashlib.sha256(repr((self.name, encoding)).encode())
        for picture, class_index in self.samples:
            whole.update(b"%b\0%d %d\n" % (bytes(picture.names), class_index, picture.extent.size))
        return whole.hexdigest()


def companions(picture: Picture, class_index: int) -> tuple[tuple[str, bytes], ...]:
    """What stands beside the picture, by member suffix: the label, and class name and origin for a human."""
    origin = {"class": picture.class_name, "path": picture.name, "split": picture.split}
    return ("cls", str(class_index).encode()), ("json", json.dumps(origin).encode())


def plan_shards(pictures: Iterable[Picture], classes: Sequence[str], *, shard_bytes: int) -> Iterator[PlannedShard]:
    """Fill shards up to `shard_bytes` with pictures as they are in the source, in the given order, split by split.

    A larger sample gets a shard of its own. Drawn one by one: a plan of millions is never there as a whole.
    """
    index = {name: position for position, name in enumerate(classes)}
    group: list[PlannedSample] = []
    number = end = 0
    for picture in pictures:
        class_index = index[picture.class_name]
        beside = companions(picture, class_index)
        size = record_size([picture.extent.size, *(len(data) for _, data in beside)])
        if group and (
            (is_other := group[0].picture.split != picture.split)
            or end + size + len(TRAILER) > shard_bytes
            or len(group) == SHARD_SAMPLES
        ):
            yield _named(group, number)
            number = 0 if is_other else number + 1
            group, end = [], 0
        group.append(PlannedSample(picture, class_index))
        end += size
    if group:
        yield _named(group, number)


def _named(group: list[PlannedSample], number: int) -> PlannedShard:
    return PlannedShard(f"{group[0].picture.split}-{number:06d}.tar", tuple(group))
