"""The most pictures that memory holds, from what few of them take. Pure arithmetic around one measurement."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SMALL = 8
"""Pictures of the second measurement; the first is of one."""
RESERVE = 0.1
"""Of a device's memory, that stays free: larger pictures come, blocks of memory do not fit each other, others grow."""

EFFICIENT = 8
"""Pictures, assumed: with fewer a device's products are slow for what they do, slower than blocks computed twice."""

Peak = Callable[[int], float]
"""Bytes held at the most while so many pictures are computed on; infinite where memory ran out."""


class Largest(NamedTuple):
    """Pictures, and the bytes that they took."""

    size: int
    peak: float


def too_few(size: int, share: int) -> bool:
    """Whether `engine.checkpoint_blocks: auto` had rather compute blocks again than so few pictures of a share."""
    return size < min(EFFICIENT, share)


def usable(total: int) -> int:
    """Bytes without the reserve."""
    return int((1.0 - RESERVE) * total)


def largest(peak: Peak, held: int, most: int, room: int, *, share: Callable[[int], int] = lambda size: size) -> Largest:
    """Of the sizes up to `most` that take no more than `room` bytes; one, if even that takes more.

    One and a few pictures are measured, the line through them says how many there is room for, and so many are tried;
    where they take more than foreseen, half of them, and so on.

    held: bytes while nothing is computed; share: the size that a bound comes to, since a batch is divided evenly.
    """
    first = peak(1)
    size = min(most, SMALL) if first <= room else 1
    while size > 1 and first + (size - 1) * (first - held) > room:  # what one takes is no less than each further one
        size -= 1
    taken = first if size == 1 else peak(size)
    while taken > room and size > 1:
        size //= 2
        taken = peak(size)
    foreseen = share(_on_line(first, taken, size, most, room))
    while foreseen > size:
        tried = peak(foreseen)
        if tried <= room:
            return Largest(foreseen, tried)
        foreseen = share(foreseen // 2)
    return Largest(share(size), taken)


def _on_line(first: float, second: float, size: int, most: int, room: int) -> int:
    """Where the line through (1, first) and (size, second) crosses `room`, between `size` and `most`."""
    if size == 1:
        return 1
    slope = (second - first) / (size - 1)
    return most if slope * (most - 1) <= room - first else max(size, 1 + int((room - first) / slope))
