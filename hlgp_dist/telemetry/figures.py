"""Pictures for TensorBoard, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Cividis (Nunez, Anderton and Renslow 2018), made for colour-blind readers; nine of its stops, dark to light.
STOPS = np.array(
    [
        *((0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115)),
        *((138, 134, 120), (165, 156, 116), (195, 179, 105), (254, 232, 56)),
    ]
)
CELL, SMALL_CELL = 44, 8
MAX_NUMBERED_TASKS = 20
MARGIN = 52
BACKGROUND, EMPTY, INK = (255, 255, 255), (238, 238, 238), (20, 20, 20)

Color = tuple[int, int, int]


def accuracy_matrix(matrix: Sequence[Sequence[float | None]]) -> Tensor:
    """The accuracy matrix as uint8 [3, H, W]: row = after task, column = tested on task, colour and percent.

    `matrix`: T x T fractions, or one row of T; None where there is no value. The last column is the mean over the
    tasks seen.
    Beyond MAX_NUMBERED_TASKS tasks cells shrink and carry colour only.
    """
    rows, tasks = len(matrix), len(matrix[-1])
    cell = CELL if tasks <= MAX_NUMBERED_TASKS else SMALL_CELL
    gap = max(cell // 4, 4)
    picture = Image.new("RGB", (MARGIN + (tasks + 1) * cell + gap + 12, MARGIN + rows * cell + 12), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            _cell(draw, MARGIN + column * cell, MARGIN + row * cell, cell, value)
        seen = [value for value in values if value is not None]
        mean = sum(seen) / len(seen) if seen else None
        _cell(draw, MARGIN + tasks * cell + gap, MARGIN + row * cell, cell, mean)
    _labels(draw, rows, tasks, cell, gap)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def color_of(fraction: float) -> Color:
    """The colour of a fraction in [0, 1], linear between the stops."""
    position = min(max(fraction, 0.0), 1.0) * (len(STOPS) - 1)
    below = min(int(position), len(STOPS) - 2)
    red, green, blue = STOPS[below] + (position - below) * (STOPS[below + 1] - STOPS[below])
    return round(red), round(green), round(blue)


def _cell(draw: ImageDraw.ImageDraw, left: int, top: int, size: int, value: float | None) -> None:
    fill = EMPTY if value is None else color_of(value)
    draw.rectangle((left, top, left + size - 2, top + size - 2), fill=fill)
    if value is None or size < CELL:
        return
    is_dark = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] < 120
    ink = BACKGROUND if is_dark else INK
    _text(draw, left + size // 2 - 1, top + size // 2 - 1, f"{100 * value:.1f}", ink)


def _labels(draw: ImageDraw.ImageDraw, rows: int, tasks: int, cell: int, gap: int) -> None:
    _text(draw, MARGIN + tasks * cell // 2, 12, "tested on task", INK)
    _text(draw, MARGIN + tasks * cell + gap + cell // 2, MARGIN - 12, "mean", INK)
    draw.text((4, MARGIN - 12), "after", fill=INK, font=_font(), anchor="lm")
    every = 1 if cell == CELL else 5
    for task in range(0, tasks, every):
        center = MARGIN + task * cell + cell // 2
        _text(draw, center, MARGIN - 12, str(task), INK)
        if task < rows:
            _text(draw, MARGIN - 16, center, str(task), INK)


def _text(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, ink: Color) -> None:
    draw.text((x, y), text, fill=ink, font=_font(), anchor="mm")


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)
