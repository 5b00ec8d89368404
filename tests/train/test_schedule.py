"""Learning-rate factors worked by hand."""

from __future__ import annotations

import math

import pytest

from hlgp_dist.config.schema import ConstantSchedule, CosineSchedule
from hlgp_dist.train.schedule import rate_factor


def factors(schedule: CosineSchedule | ConstantSchedule, steps: int) -> list[float]:
    return [rate_factor(schedule, step, steps) for step in range(steps)]


def test_half_a_cosine() -> None:
    assert factors(CosineSchedule(), 4) == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


def test_a_final_fraction_is_approached_and_not_passed() -> None:
    last = factors(CosineSchedule(final_fraction=0.2), 1000)
    assert min(last) == last[-1] == pytest.approx(0.2, abs=1e-5)
    assert last[500] == pytest.approx(0.6)


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
