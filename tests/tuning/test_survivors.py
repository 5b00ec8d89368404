"""Expected survivors against searches whose objectives are drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from hlgp_dist.config.search_options import Asha, Fifo
from hlgp_dist.tuning.rungs import Rungs
from hlgp_dist.tuning.survivors import expected_survivors, passing

REPEATS = 2000


def simulated(arrivals: int, factor: int) -> float:
    """Mean number that pass a rung, by the rule of a search."""
    random, passed = np.random.default_rng(0), 0
    for _ in range(REPEATS):
        rungs = Rungs(Asha(reduction_factor=factor), 2)
        for number, value in enumerate(random.random(arrivals).tolist()):
            passed += not rungs.is_below("", 1, value)
            rungs.record("", 1, number, value)
    return passed / REPEATS


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("arrivals", [1, 2, 5, 12])
def test_the_rule_of_a_rung(arrivals: int, factor: int) -> None:
    assert passing(arrivals, factor) == pytest.approx(simulated(arrivals, factor), rel=0.05)


def test_many_are_divided_by_the_factor() -> None:
    assert passing(10_000, 4) == pytest.approx(2_500, rel=0.01)
    assert passing(2.5, 2) == pytest.approx((passing(2, 2) + passing(3, 2)) / 2)


def test_rungs_come_after_their_tasks() -> None:
    alive = expected_survivors(Asha(grace_tasks=2, reduction_factor=2), 16, 10)
    assert alive[0] == alive[1] == 16
    assert alive[2] == alive[3] == passing(16, 2)
    assert alive[4] == alive[7] == passing(alive[3], 2)
    assert alive[8] == alive[9] == passing(alive[7], 2)
    assert expected_survivors(Fifo(kind="fifo"), 16, 10) == [16] * 10
