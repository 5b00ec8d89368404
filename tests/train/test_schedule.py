"""Learning-rate factors worked by hand."""

from __future__ import annotations

import math

import pytest

from hlgp_dist.config.optimizer_options import ConstantSchedule, CosineSchedule, QuarterCosineSchedule, Schedule
from hlgp_dist.train.schedule import rate_factor


def factors(schedule: Schedule, steps: int, steps_per_epoch: int = 1) -> list[float]:
    return [rate_factor(schedule, step, steps, steps_per_epoch) for step in range(steps)]


def test_half_a_cosine() -> None:
    assert factors(CosineSchedule(), 4) == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


def test_a_final_fraction_is_approached_and_not_passed() -> None:
    last = factors(CosineSchedule(final_fraction=0.2), 1000)
    assert min(last) == last[-1] == pytest.approx(0.2, abs=1e-5)
    assert last[500] == pytest.approx(0.6)


def test_a_quarter_of_a_cosine_changes_by_the_epoch() -> None:
    quarter = QuarterCosineSchedule(kind="quarter_cosine")
    fall = [1.0, math.cos(99 * math.pi / 400), math.cos(99 * math.pi / 200)]
    assert factors(quarter, 6, steps_per_epoch=2) == pytest.approx([value for value in fall for _ in range(2)])
    assert fall[-1] == pytest.approx(0.0157, abs=1e-4)
    assert factors(quarter, 2, steps_per_epoch=2) == [1.0, 1.0], "a single epoch"
    assert factors(quarter, 3, steps_per_epoch=2)[-1] == pytest.approx(fall[-1]), "cut short in its second"


def test_warm_up_is_linear_and_never_zero() -> None:
    constant = ConstantSchedule(kind="constant", warmup_steps=3)
    assert factors(constant, 6) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    cosine = factors(CosineSchedule(warmup_steps=2), 6)
    assert cosine[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert cosine[3:] == pytest.approx(factors(CosineSchedule(), 4)[1:])


def test_a_task_shorter_than_its_warm_up() -> None:
    assert factors(CosineSchedule(warmup_steps=9), 2) == pytest.approx([0.1, 0.2])


def test_a_constant_rate_without_warm_up() -> None:
    assert factors(ConstantSchedule(kind="constant"), 3) == [1.0, 1.0, 1.0]
