"""Every formula against a matrix worked by hand, and what must hold for any matrix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlgp_dist.train import metrics

MATRIX = [[0.5], [0.9, 0.8], [0.6, 0.9, 1.0]]
"""Task 0 was best after task 1; task 1 got better later."""
PICTURES = [10, 20, 30]


def test_average_accuracy_is_the_mean_of_a_row() -> None:
    assert metrics.average_accuracy(MATRIX[2]) == pytest.approx((0.6 + 0.9 + 1.0) / 3)


def test_cumulative_average_accuracy_is_the_mean_of_the_rows_means() -> None:
    assert metrics.cumulative_average_accuracy(MATRIX) == pytest.approx((0.5 + 0.85 + 2.5 / 3) / 3)


def test_micro_accuracy_counts_pictures() -> None:
    assert metrics.micro_accuracy(MATRIX[2], PICTURES) == pytest.approx((6 + 18 + 30) / 60)
    assert metrics.micro_accuracy(MATRIX[1], PICTURES) == pytest.approx((9 + 16) / 30)


def test_forgetting_is_measured_from_the_best_row() -> None:
    assert metrics.forgetting(MATRIX) == pytest.approx(((0.9 - 0.6) + (0.9 - 0.9)) / 2)


def test_backward_transfer_is_measured_from_the_diagonal() -> None:
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((0.6 - 0.5) + (0.9 - 0.8)) / 2)


def test_plasticity_is_the_mean_of_the_diagonal() -> None:
    assert metrics.plasticity(MATRIX) == pytest.approx((0.5 + 0.8 + 1.0) / 3)


def test_one_task_has_forgotten_nothing() -> None:
    assert metrics.summary([[0.7]], [4]) == {
        "average_accuracy": 0.7,
        "cumulative_average_accuracy": 0.7,
        "micro_accuracy": pytest.approx(0.7),
        "forgetting": 0.0,
        "backward_transfer": 0.0,
        "plasticity": 0.7,
    }


def test_the_summary_of_a_run_in_progress_ignores_tasks_to_come() -> None:
    assert metrics.summary(MATRIX[:2], PICTURES) == metrics.summary(MATRIX[:2], PICTURES[:2])


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    tasks = draw(st.integers(2, 6))
    return [draw(st.lists(st.floats(0, 1), min_size=t + 1, max_size=t + 1)) for t in range(tasks)]


@given(matrices())
def test_what_holds_for_any_matrix(matrix: list[list[float]]) -> None:
    forgetting, transfer = metrics.forgetting(matrix), metrics.backward_transfer(matrix)
    assert 0.0 <= forgetting <= 1.0
    assert forgetting >= -transfer - 1e-9, "the best row is no worse than the diagonal"
    macro, micro = metrics.average_accuracy(matrix[-1]), metrics.micro_accuracy(matrix[-1], [7] * len(matrix))
    assert micro == pytest.approx(macro), "equal tasks weigh alike"
