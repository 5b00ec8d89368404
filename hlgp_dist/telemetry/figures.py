"""Pictures for TensorBoard, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CELL, SMALL_CELL, NUMBERED_CELL = 44, 8, 34
SIDE = 900
"""Of all cells together: more of them are smaller, and below NUMBERED_CELL carry colour only."""
MARGIN, FOOT = 64, 40
GAP = 11
TITLE = 210
"""Of the longest title."""
BACKGROUND, EMPTY, INK = (255, 255, 255), (238, 238, 238), (20, 20, 20)

Color = tuple[int, int, int]
Values = Sequence[Sequence[float | None]]
"""Row by row, None where there is no value."""


@dataclass(frozen=True)
class Scale:
    """Colours of the values low..high, linear between the stops [n, 3], and how a value is written."""

    stops: np.ndarray
    low: float
    high: float
    write: Callable[[float], str]

    def color_of(self, value: float) -> Color:
        """Of a value below or above the scale the color of its end."""
        fraction = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        position = fraction * (len(self.stops) - 1)
        below = min(int(position), len(self.stops) - 2)
        red, green, blue = self.stops[below] + (position - below) * (self.stops[below + 1] - self.stops[below])
        return round(red), round(green), round(blue)


# Cividis (Nunez, Anderton and Renslow 2018), made for colour-blind readers; nine of its stops, dark to light.
CIVIDIS = np.array(
    [
        *((0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115)),
        *((138, 134, 120), (165, 156, 116), (195, 179, 105), (254, 232, 56)),
    ]
)
# ColorBrewer's RdBu (Harrower and Brewer 2003) in nine classes, which colour-blind readers can tell apart.
RED_TO_BLUE = np.array(
    [
        *((178, 24, 43), (214, 96, 77), (244, 165, 130), (253, 219, 199), (247, 247, 247)),
        *((209, 229, 240), (146, 197, 222), (67, 147, 195), (33, 102, 172)),
    ]
)
FRACTIONS = Scale(CIVIDIS, 0.0, 1.0, lambda value: f"{100 * value:.1f}")
COSINES = Scale(RED_TO_BLUE, -1.0, 1.0, lambda value: f"{value:z.2f}")


class Axis(NamedTuple):
    """What rows or columns stand for, and the name of each."""

    title: str
    names: Sequence[str]


def accuracy_matrix(matrix: Values) -> Tensor:
    """The accuracy matrix as uint8 [3, H, W]: row = after task, column = tested on task, colour and percent.

    `matrix`: T x T fractions, or one row of T. The last column is the mean over the tasks seen.
    """
    seen = [[value for value in row if value is not None] for row in matrix]
    means = [sum(row) / len(row) if row else None for row in seen]
    rows, columns = Axis("after", _numbers(len(matrix))), Axis("tested on task", _numbers(len(matrix[-1])))
    return heat_map(matrix, rows, columns, FRACTIONS, aside=("mean", means))


def task_confusion(weights: Values) -> Tensor:
    """Mean matching weights as uint8 [3, H, W]: row = task of the pictures, column = whose prompts, in percent."""
    columns = Axis("weight of the prompts of task", _numbers(len(weights[-1])))
    return heat_map(weights, Axis("of task", _numbers(len(weights))), columns, FRACTIONS)


def similarities(cosines: Values, of: str, names: Sequence[str]) -> Tensor:
    """Cosines between N prompts, each of what `of` says (`block`, `task`), as uint8 [3, H, W]."""
    return heat_map(cosines, Axis("", names), Axis(f"cosine between {of}s", names), COSINES)


def heat_map(
    values: Values,
    rows: Axis,
    columns: Axis,
    scale: Scale,
    aside: tuple[str, Sequence[float | None]] | None = None,
) -> Tensor:
    """Values as cells of colour, with their numbers where they fit, and the scale below: uint8 [3, H, W].

    aside: one column more, apart from the others, and its title.
    """
    return _Sheet(rows, columns, scale, aside).draw(values)


class _Sheet:
    """Where things lie in one picture."""

    def __init__(
        self, rows: Axis, columns: Axis, scale: Scale, aside: tuple[str, Sequence[float | None]] | None
    ) -> None:
        self.rows, self.columns, self.scale, self.aside = rows, columns, scale, aside
        width = len(columns.names) + (aside is not None)
        self.cell = min(max(SIDE // max(width, len(rows.names)), SMALL_CELL), CELL)
        self.is_numbered = self.cell >= NUMBERED_CELL
        self.bottom = MARGIN + len(rows.names) * self.cell
        size = (max(MARGIN + width * self.cell + GAP + 12, MARGIN + TITLE), self.bottom + FOOT)
        self.picture = Image.new("RGB", size, BACKGROUND)
        self.pen = ImageDraw.Draw(self.picture)

    def draw(self, values: Values) -> Tensor:
        for row, cells in enumerate(values):
            for column, value in enumerate(cells):
                self._cell(row, MARGIN + column * self.cell, value)
        if self.aside is not None:
            title, numbers = self.aside
            left = MARGIN + len(self.columns.names) * self.cell + GAP
            self._text(left + self.cell // 2, MARGIN - 12, title)
            for row, value in enumerate(numbers):
                self._cell(row, left, value)
        self._names()
        self._legend()
        return torch.from_numpy(np.array(self.picture)).permute(2, 0, 1).contiguous()

    def _cell(self, row: int, left: int, value: float | None) -> None:
        top, fill = MARGIN + row * self.cell, EMPTY if value is None else self.scale.color_of(value)
        self.pen.rectangle((left, top, left + self.cell - 2, top + self.cell - 2), fill=fill)
        if value is not None and self.is_numbered:
            is_dark = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] < 120
            center = self.cell // 2 - 1
            size = 14 * self.cell // CELL
            self._text(left + center, top + center, self.scale.write(value), BACKGROUND if is_dark else INK, size)

    def _names(self) -> None:
        self._text(MARGIN, 12, self.columns.title, anchor="lm")
        self._text(4, MARGIN - 12, self.rows.title, anchor="lm")
        every = 1 if self.is_numbered else 5
        for place, name in [*enumerate(self.columns.names)][::every]:
            self._text(MARGIN + place * self.cell + self.cell // 2, MARGIN - 12, name)
        for place, name in [*enumerate(self.rows.names)][::every]:
            self._text(MARGIN - 16, MARGIN + place * self.cell + self.cell // 2, name)

    def _legend(self) -> None:
        """The scale's colours from its low end to its high one."""
        top, low, high = self.bottom + 14, self.scale.low, self.scale.high
        for place in range(101):
            left = MARGIN + place
            fill = self.scale.color_of(low + (high - low) * place / 100)
            self.pen.rectangle((left, top, left, top + 10), fill=fill)
        self._text(MARGIN - 20, top + 5, self.scale.write(low))
        self._text(MARGIN + 108, top + 5, self.scale.write(high), anchor="lm")

    def _text(self, x: int, y: int, text: str, ink: Color = INK, size: int = 14, anchor: str = "mm") -> None:
        self.pen.text((x, y), text, fill=ink, font=_font(size), anchor=anchor)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _numbers(count: int) -> list[str]:
    return [str(index) for index in range(count)]
