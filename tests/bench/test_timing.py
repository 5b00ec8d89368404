"""Turns, and what a pass must give."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest
import torch

from hlgp_dist.bench.memory import over_epochs
from hlgp_dist.bench.timing import rates
from hlgp_dist.bench.workload import Finished
from hlgp_dist.errors import DataError

PICTURES = 5


class Noted:
    """A contender that notes who was asked when."""

    def __init__(self, name: str, log: list[tuple[str, int]], ids: tuple[int, ...] = (4, 0, 2, 1, 3)) -> None:
        self.name, self.log, self.ids = name, log, ids

    def epoch(self, number: int) -> Iterator[Finished]:
        self.log.append((self.name, number))
        for part in torch.tensor(self.ids).split(2):
            yield Finished(torch.zeros(len(part), 3, 1, 1), part)

    def close(self) -> None:
        pass


def test_all_warm_up_once_and_then_go_in_turns() -> None:
    log: list[tuple[str, int]] = []
    measured = rates({name: Noted(name, log) for name in "ab"}, PICTURES, repeats=2, device="cpu")
    assert set(measured) == {"a", "b"}
    assert all(rate > 0 for rate in measured.values())
    assert [number for _, number in log] == [0, 0, 1, 1, 2, 2]
    assert [name for name, _ in log][2:] == ["a", "b", "b", "a"]


@pytest.mark.parametrize("ids", [(0, 1, 2, 3), (0, 1, 2, 3, 3), (0, 1, 2, 3, 4, 4)])
def test_a_lost_or_doubled_picture_is_no_result(ids: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="a: did not give each of the 5 pictures once"):
        rates({"a": Noted("a", [], ids)}, PICTURES, repeats=1, device="cpu")


def test_memory_that_grows_is_seen() -> None:
    kept: list[mmap.mmap] = []

    def keep(epoch: int) -> None:
        kept.append(mmap.mmap(-1, 2**24))  # pages of its own, whatever malloc has left over from other tests
        kept[-1].write(bytes(2**24))

    grown = over_epochs(keep, 8)
    assert not grown["flat"]
    assert 14 < grown["slope_mib_per_epoch"] < 18
    assert over_epochs(lambda epoch: None, 8)["flat"]
    assert over_epochs(lambda epoch: None, 2)["flat"] is None
