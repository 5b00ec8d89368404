"""Every formula against a matrix worked by hand, and what must hold for any matrix."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlgp_dist.train import metrics
from hlgp_dist.train.evaluate import Counts
from hlgp_dist.train.progress import Progress
from hlgp_dist.train.sequence import _oracle_numbers

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


GOLDEN_IMAGES = [10, 20, 5, 40]
GOLDEN_RIGHT = [[5], [9, 18], [5, 10, 4], [7, 12, 5, 30]]
"""Of task 0 the second row is the best, of task 1 the first, of task 2 the last: no two kinds of forgetting agree."""
GOLDEN = [
    [Fraction(5, 10)],
    [Fraction(9, 10), Fraction(18, 20)],
    [Fraction(5, 10), Fraction(10, 20), Fraction(4, 5)],
    [Fraction(7, 10), Fraction(12, 20), Fraction(5, 5), Fraction(30, 40)],
]


@pytest.fixture
def golden() -> list[list[float]]:
    """From the counts, as a run makes it."""
    matrix = Progress(right=GOLDEN_RIGHT, tested=[GOLDEN_IMAGES[:n] for n in (1, 2, 3, 4)]).matrix()
    assert matrix == [[float(value) for value in row] for row in GOLDEN]
    return matrix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("average_accuracy", Fraction(61, 80)),  # (7/10 + 3/5 + 1 + 3/4) / 4
        ("cumulative_average_accuracy", Fraction(221, 320)),  # (1/2 + 9/10 + 3/5 + 61/80) / 4
        ("micro_accuracy", Fraction(18, 25)),  # (7 + 12 + 5 + 30) / 75
        ("forgetting", Fraction(1, 6)),  # (1/5 + 3/10 + 0) / 3
        ("backward_transfer", Fraction(1, 30)),  # (1/5 - 3/10 + 1/5) / 3
        ("plasticity", Fraction(59, 80)),  # (1/2 + 9/10 + 4/5 + 3/4) / 4
    ],
)
def test_golden_metrics(golden: list[list[float]], name: str, value: Fraction) -> None:
    assert metrics.summary(golden, GOLDEN_IMAGES)[name] == pytest.approx(float(value), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pilot_average", Fraction(233, 350)),  # (5/10 + 27/30 + 19/35 + 54/75) / 4
        ("pilot_last", Fraction(18, 25)),
        ("coda_global", Fraction(61, 80)),
        ("coda_forgetting", Fraction(-1, 18)),  # (-2/5 + (2/5 + 2/5) / 2 + (-1/5 - 1/10 - 1/5) / 3) / 3
        ("apt_general_forgetting", Fraction(-1, 30)),
        ("vq_forgetting", Fraction(1, 10)),  # (1/5 + 3/10 - 1/5) / 3
    ],
)
def test_golden_metrics_of_peers(golden: list[list[float]], name: str, value: Fraction) -> None:
    assert metrics.peer_summary(golden, GOLDEN_IMAGES)[name] == pytest.approx(float(value), abs=1e-12)


def test_golden_task_identification_is_that_of_the_last_row() -> None:
    progress = Progress(task_right=[[10], [9, 12], [6, 15, 5, 36]], tested=[GOLDEN_IMAGES])
    assert progress.task_identification() == pytest.approx(float(Fraction(13, 16)))  # (3/5 + 3/4 + 1 + 9/10) / 4


def test_golden_oracle_accuracies() -> None:
    oracle, within = (8, 16, 5, 32), (9, 18, 5, 38)
    counts = [Counts(n, 0, 0, o, w, None) for n, o, w in zip(GOLDEN_IMAGES, oracle, within, strict=True)]
    assert _oracle_numbers(counts, True) == {
        "oracle_task_accuracy": pytest.approx(float(Fraction(17, 20))),  # (4/5 + 4/5 + 1 + 4/5) / 4
        "within_task_accuracy": pytest.approx(float(Fraction(15, 16))),  # (9/10 + 9/10 + 1 + 19/20) / 4
    }
    assert _oracle_numbers(counts, False)["oracle_task_accuracy"] is None, "there are no task weights to set"


def test_tasks_learned_at_once_have_no_history() -> None:
    row = [7 / 10, 12 / 20, 1.0, 30 / 40]
    assert metrics.summary([row], GOLDEN_IMAGES) == {
        "average_accuracy": pytest.approx(61 / 80),
        "cumulative_average_accuracy": None,
        "micro_accuracy": pytest.approx(18 / 25),
        "forgetting": None,
        "backward_transfer": None,
        "plasticity": None,
    }
    peers = metrics.peer_summary([row], GOLDEN_IMAGES)
    assert metrics.measured(peers) == {"pilot_last": pytest.approx(18 / 25), "coda_global": pytest.approx(61 / 80)}
    assert metrics.task_forgetting([row]) is None


def test_one_task_has_forgotten_nothing_for_peers_either() -> None:
    peers = metrics.peer_summary([[0.75]], [4])
    assert peers == {
        **dict.fromkeys(("pilot_average", "pilot_last", "coda_global"), 0.75),
        **dict.fromkeys(("coda_forgetting", "apt_general_forgetting", "vq_forgetting"), 0.0),
    }


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    tasks = draw(st.integers(2, 6))
    return [draw(st.lists(st.floats(0, 1), min_size=t + 1, max_size=t + 1)) for t in range(tasks)]


@given(matrices())
def test_what_holds_for_any_matrix(matrix: list[list[float]]) -> None:
    numbers = metrics.measured(metrics.summary(matrix, [7] * len(matrix)))
    peers = metrics.measured(metrics.peer_summary(matrix, [7] * len(matrix)))
    assert 0.0 <= numbers["forgetting"] <= 1.0
    assert numbers["forgetting"] >= -numbers["backward_transfer"] - 1e-9, "the best row is no worse than the diagonal"
    assert numbers["forgetting"] >= peers["vq_forgetting"] - 1e-9, "nor than the best of fewer rows"
    assert peers["apt_general_forgetting"] == pytest.approx(-numbers["backward_transfer"])
    assert numbers["micro_accuracy"] == pytest.approx(numbers["average_accuracy"]), "equal tasks weigh alike"
    assert peers["pilot_average"] == pytest.approx(numbers["cumulative_average_accuracy"]), "in every row"
