"""Pictures that are drawn, not read: a class's pattern under noise, a function of the recipe and their place in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.plan import stream_key

VERSION = 1
"""Of `draw`: another one draws other pictures, and is another data set."""
CELLS = 4
"""Of a pattern, along a side."""


@dataclass(frozen=True)
class Recipe:
    """So many classes of so many pictures, squares of `size` pixels; `seed`: other patterns and other noise."""

    classes: int
    train_per_class: int
    test_per_class: int
    size: int
    seed: int

    def __str__(self) -> str:
        pictures = f"{self.train_per_class} + {self.test_per_class} pictures of {self.size} px"
        return f"synthetic, {self.classes} classes of {pictures}, seed {self.seed}"

    @property
    def digest(self) -> str:
        """Sha256 in hex: two recipes of one digest draw the same."""
        text = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def draw(recipe: Recipe, split: int, class_index: int, index: int) -> NDArray[np.uint8]:
    """uint8 [S, S, 3]: colours of CELLS x CELLS squares, which the class has, plus uniform noise of the same range.

    split: 0 for training, 1 for test. By raw Philox output, which numpy keeps stable for ever.
    """
    grid = _bytes(CELLS * CELLS * 3, recipe.seed, 0, class_index).reshape(CELLS, CELLS, 3) >> 1
    sides = np.bincount(np.arange(recipe.size) * CELLS // recipe.size, minlength=CELLS)
    picture = _bytes(recipe.size**2 * 3, recipe.seed, 1, split, class_index, index).reshape(recipe.size, recipe.size, 3)
    picture >>= 1
    picture += grid.repeat(sides, axis=0).repeat(sides, axis=1)  # below 128 both
    return picture


def _bytes(count: int, *words: int) -> NDArray[np.uint8]:
    return np.random.Philox(stream_key(*words)).random_raw(-(-count // 8)).view(np.uint8)[:count]
