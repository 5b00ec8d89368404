"""Pictures in memory, of any sizes, for tests that need no shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.picture import Form
from hlgp_dist.data.plan import steps_per_epoch
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import PictureSize


def of_epoch(key: Key, count: int, batch: int, start: int = 0) -> dict[str, Any]:
    """What `training_batches` is asked for to go through an epoch of `count` pictures, from step `start` of it on."""
    steps = steps_per_epoch(count, batch)
    return {"seed": key.seed, "task": key.task, "steps": range(key.epoch * steps + start, (key.epoch + 1) * steps)}


class InMemory:
    """See hlgp_dist.data.pictures.Pictures."""

    def __init__(self, arrays: Sequence[NDArray[np.uint8]], size: PictureSize, form: Form = "scaled") -> None:
        self.arrays, self.size, self.form = list(arrays), size, form
        self.labels = np.arange(len(self.arrays), dtype=np.int64) % 5 + 10
        self.shapes = np.array([array.shape[:2] for array in self.arrays], dtype=np.int64)
        for array in self.arrays:
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, sample: int) -> NDArray[np.uint8]:
        return self.arrays[sample]


def noise(shapes: Sequence[tuple[int, int]], *, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Random pixels [H, W, 3]."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def smooth(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """[H, W, 3] that resembles a photograph: soft colours, greys, black and white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = random.uniform(1, 6, (3, 3))
    pixels = [np.sin(a * x * 6 + b) * np.cos(c * y * 6) for a, b, c in waves]
    picture = (np.stack(pixels, axis=2) * 0.7 + 0.5) * 255 + random.normal(0, 4, (height, width, 1))
    picture[: height // 8] = picture[: height // 8].mean(2, keepdims=True)
    return picture.clip(0, 255).astype(np.uint8)


def ramp(count: int, side: int = 4) -> InMemory:
    """Pictures whose pixels are their id, already at the model's size."""
    arrays = [np.full((side, side, 3), index, dtype=np.uint8) for index in range(count)]
    return InMemory(arrays, PictureSize(side, 1.0, "bilinear"))
