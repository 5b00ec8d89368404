"""Spread and bootstrap against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from hlgp_dist.study.statistics import FEWEST_SEEDS, Interval, Spread, paired_bootstrap, spread


def test_the_deviation_is_the_samples() -> None:
    assert spread([1.0, 2.0, 6.0]) == Spread(mean=3.0, deviation=pytest.approx(7**0.5))  # (4 + 1 + 9) / 2
    assert spread([0.25]) == Spread(mean=0.25, deviation=None)


def test_equal_methods_differ_by_nothing() -> None:
    assert paired_bootstrap([[0.0] * 4] * 3) == Interval(0.0, 0.0, 0.0)


def test_a_constant_shift_is_its_own_interval() -> None:
    found = paired_bootstrap([[0.125] * 5] * 4)
    assert (found.difference, found.low, found.high) == pytest.approx((0.125, 0.125, 0.125), abs=1e-12)


def test_too_few_seeds_have_a_difference_and_no_interval() -> None:
    table = [[0.5, 0.0], [0.25, 0.25]]
    assert paired_bootstrap(table) == Interval(0.25, None, None)
    assert len(table) < FEWEST_SEEDS
    assert paired_bootstrap([*table, [0.25, 0.25]]).low is not None


def test_the_same_table_gives_the_same_interval() -> None:
    table = np.random.default_rng(3).normal(size=(3, 5)).tolist()
    assert paired_bootstrap(table) == paired_bootstrap(table)


def test_the_ends_are_those_of_every_possible_draw() -> None:
    """One task, three seeds: one draw in 27 (3.7 %) takes the least seed only, so it is the 2.5 % point."""
    found = paired_bootstrap([[0.0], [0.25], [1.0]])
    assert (found.low, found.high) == pytest.approx((0.0, 1.0), abs=1e-12)


def test_seeds_that_agree_leave_the_tasks_to_vary_and_the_other_way_round() -> None:
    tasks_vary = paired_bootstrap([[-1.0, 0.0, 1.0]] * 3)
    seeds_vary = paired_bootstrap([[-1.0] * 3, [0.0] * 3, [1.0] * 3])
    both = paired_bootstrap([[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    for found in (tasks_vary, seeds_vary):
        assert found.low is not None and found.low < 0.0
        assert both.low is not None and both.low < found.low


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    """Five seeds, ten tasks, effects of both and noise: of 150 true differences of zero about 95 % are covered."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        seeds, tasks = random.normal(0, 1, (5, 1)), random.normal(0, 2, (1, 10))
        found = paired_bootstrap((seeds + tasks + random.normal(0, 2, (5, 10))).tolist())
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.0 <= found.high
    assert 0.88 <= covered / 150 <= 0.99
