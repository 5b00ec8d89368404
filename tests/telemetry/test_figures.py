"""The accuracy matrix as a picture: cells where they belong, colours in order."""

from __future__ import annotations

import pytest
import torch

from hlgp_dist.telemetry.figures import CELL, EMPTY, MARGIN, MAX_NUMBERED_TASKS, accuracy_matrix, color_of


def corner(image: torch.Tensor, row: int, column: int) -> tuple[int, ...]:
    """The colour in the corner of a cell, where no number is drawn."""
    return tuple(image[:, MARGIN + row * CELL + 1, MARGIN + column * CELL + 1].tolist())


def test_a_cell_has_the_colour_of_its_value() -> None:
    matrix: list[list[float | None]] = [[0.2, None, None], [0.9, 0.5, None], [0.0, 1.0, 0.7]]
    image = accuracy_matrix(matrix)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            assert corner(image, row, column) == (EMPTY if value is None else color_of(value))


def test_a_number_is_drawn_into_its_cell() -> None:
    first, second = accuracy_matrix([[0.5]]), accuracy_matrix([[0.5004]])
    assert torch.equal(first, second)
    cell = first[:, MARGIN : MARGIN + CELL - 1, MARGIN : MARGIN + CELL - 1].flatten(1)
    assert len(torch.unique(cell, dim=1).T) > 2


def test_light_is_more() -> None:
    light = [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in map(color_of, torch.linspace(0, 1, 21).tolist())
    ]
    assert light == sorted(light)
    assert color_of(-1) == color_of(0)
    assert color_of(2) == color_of(1)


@pytest.mark.parametrize("tasks", [1, MAX_NUMBERED_TASKS, 60])
def test_the_picture_stays_a_page(tasks: int) -> None:
    image = accuracy_matrix([[0.5] * (row + 1) for row in range(tasks)])
    assert max(image.shape) < 1100


def test_tasks_learned_at_once_are_one_row() -> None:
    image = accuracy_matrix([[0.2, 0.9, 0.5]])
    assert image.shape[1] < image.shape[2]
    assert [corner(image, 0, column) for column in range(3)] == [color_of(value) for value in (0.2, 0.9, 0.5)]
