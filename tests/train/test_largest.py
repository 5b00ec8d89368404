"""How many pictures memory holds, of what few of them take: arithmetic alone."""

from __future__ import annotations

import math
from functools import partial

import pytest

from hlgp_dist.data.plan import largest_share
from hlgp_dist.train.largest import Largest, Peak, largest, usable

HELD, ONCE, EACH = 1000, 300, 50


class Device:
    """Takes so many bytes for each picture, and those of `more` beyond the eighth; full at `size`."""

    def __init__(self, size: float = math.inf, more: float = EACH) -> None:
        self.size, self.more = size, more
        self.asked: list[int] = []

    def __call__(self, count: int) -> float:
        self.asked.append(count)
        taken = HELD + ONCE + EACH * min(count, 8) + self.more * max(0, count - 8)
        return taken if taken <= self.size else math.inf


def found(peak: Peak, most: int, pictures: int) -> Largest:
    """With room for exactly so many."""
    return largest(peak, HELD + ONCE, most, HELD + ONCE + EACH * pictures)


def test_all_of_a_share_where_it_fits() -> None:
    device = Device()
    assert found(device, 64, 200) == (64, HELD + ONCE + EACH * 64)
    assert device.asked == [1, 8, 64], "two small ones, and the result for real"
    assert found(Device(), 5, 200).size == 5
    assert found(Device(), 1, 200).size == 1


@pytest.mark.parametrize("pictures", [1, 2, 7, 8, 9, 30, 63])
def test_as_many_as_there_is_room_for(pictures: int) -> None:
    device = Device()
    assert found(device, 64, pictures) == (pictures, HELD + ONCE + EACH * pictures)
    assert max(device.asked) <= max(pictures, 2), "nothing is tried that the room does not hold"


def test_one_where_not_even_that_fits() -> None:
    assert found(Device(), 64, 0).size == 1
    assert found(Device(size=0), 64, 10).size == 1


def test_half_of_what_proves_too_much() -> None:
    device = Device(more=2 * EACH)
    assert found(device, 64, 40).size == 20
    assert device.asked == [1, 8, 40, 20]
    device = Device(size=HELD + ONCE + EACH * 12)
    assert found(device, 64, 64).size == 8, "a quarter of the share was too much, the eighth was measured"
    assert device.asked == [1, 8, 64, 32, 16]


def test_a_batch_is_divided_evenly() -> None:
    """65 of 128 are one rank's share in two micro-steps of 64, 63 in three of 43."""
    share = partial(largest_share, 128, 1)
    for pictures, size in ((128, 128), (127, 64), (64, 64), (63, 43), (9, 9), (7, 7)):
        room = HELD + ONCE + EACH * pictures
        assert largest(Device(), HELD + ONCE, 128, room, share=share).size == size


def test_what_a_picture_takes_may_drown_in_noise() -> None:
    assert largest(lambda count: 1000.0 - count, HELD, 16, 2000).size == 16


def test_a_tenth_stays_free() -> None:
    assert usable(1000) == 900
