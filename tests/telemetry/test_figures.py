"""Matrices as pictures: cells where they belong, colours in order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hlgp_dist.telemetry.figures import (
    CELL,
    COSINES,
    EMPTY,
    FRACTIONS,
    GAP,
    MARGIN,
    Scale,
    accuracy_matrix,
    similarities,
    task_confusion,
)


def corner(image: Tensor, row: int, column: int, *, right: int = 0) -> tuple[int, ...]:
    """The colour in the corner of a cell, where no number is drawn."""
    return tuple(image[:, MARGIN + row * CELL + 1, MARGIN + column * CELL + 1 + right].tolist())


def test_a_cell_has_the_colour_of_its_value() -> None:
    matrix: list[list[float | None]] = [[0.2, None, None], [0.9, 0.5, None], [0.0, 1.0, 0.8]]
    image = accuracy_matrix(matrix)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            assert corner(image, row, column) == (EMPTY if value is None else FRACTIONS.color_of(value))
    means = [corner(image, row, 3, right=GAP) for row in range(3)]
    assert means == [FRACTIONS.color_of(mean) for mean in (0.2, 0.7, 0.6)]


def test_a_number_is_drawn_into_its_cell() -> None:
    first, second = accuracy_matrix([[0.5]]), accuracy_matrix([[0.5004]])
    assert torch.equal(first, second)
    cell = first[:, MARGIN : MARGIN + CELL - 1, MARGIN : MARGIN + CELL - 1].flatten(1)
    assert len(torch.unique(cell, dim=1).T) > 2


def test_weights_and_cosines_have_the_colours_of_their_scales() -> None:
    weights, cosines = [[0.75, 0.25], [0.5, 0.5]], [[1.0, -0.5], [-0.5, 1.0]]
    confusion, alike = task_confusion(weights), similarities(cosines, "block", ["3", "7"])
    for row in range(2):
        for column in range(2):
            assert corner(confusion, row, column) == FRACTIONS.color_of(weights[row][column])
            assert corner(alike, row, column) == COSINES.color_of(cosines[row][column])


def luminance(scale: Scale, value: float) -> float:
    red, green, blue = scale.color_of(value)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_light_is_more_of_a_fraction() -> None:
    light = [luminance(FRACTIONS, value) for value in torch.linspace(0, 1, 21).tolist()]
    assert light == sorted(light)
    assert FRACTIONS.color_of(-1) == FRACTIONS.color_of(0)
    assert FRACTIONS.color_of(2) == FRACTIONS.color_of(1)


def test_light_is_unlike_and_red_is_opposite() -> None:
    """Cosines away from 0 get darker, those below it redder than blue."""
    for sign in (-1.0, 1.0):
        light = [luminance(COSINES, sign * value) for value in torch.linspace(0, 1, 21).tolist()]
        assert light == sorted(light, reverse=True)
    (red, _, blue), (other_red, _, other_blue) = COSINES.color_of(-0.5), COSINES.color_of(0.5)
    assert red > blue and other_red < other_blue


@pytest.mark.parametrize("count", [1, 20, 24, 60, 110])
def test_the_picture_stays_a_page(count: int) -> None:
    image = accuracy_matrix([[0.5] * (row + 1) for row in range(count)])
    assert max(image.shape) < 1100
    alike = similarities(torch.eye(count).tolist(), "component", [str(name) for name in range(count)])
    assert max(alike.shape) < 1100


def test_tasks_learned_at_once_are_one_row() -> None:
    image = accuracy_matrix([[0.2, 0.9, 0.5]])
    assert image.shape[1] < image.shape[2]
    expected = [FRACTIONS.color_of(value) for value in (0.2, 0.9, 0.5)]
    assert [corner(image, 0, column) for column in range(3)] == expected
