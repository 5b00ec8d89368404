"""Pictures to measure with where there are none: JPEGs that compress and decode as photographs do.

Noise in octaves, as strong in each as the spectrum of natural pictures has it, colour in the coarse ones; edges.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = 10
QUALITY = 90
COARSEST, FINEST, FALL = (12.0, 32.0), 1, 0.88
"""Amplitude of the octave whose cells are half a picture, in grey levels from a to b; pixels of the finest one's cells;
how the amplitude falls from one to the next. So 500 x 375 pixels take 45 to 90 kB."""
COLOURED = 16
"""Pixels of the finest cells that have a colour of their own: eyes and JPEG care for little more."""
EDGES = 6


def draw_folder(folder: Path, *, pictures: int, pixels: int, seed: int = 0, workers: int = 1) -> None:
    """`pictures` JPEGs, landscape and portrait by turns with a longer side of `pixels`, into CLASS/NUMBER.jpg."""
    for index in range(CLASSES):
        (folder / f"class_{index}").mkdir(parents=True)

    def write(number: int) -> None:
        file = folder / f"class_{number % CLASSES}" / f"{number:06d}.jpg"
        Image.fromarray(draw(number, pixels, seed)).save(file, quality=QUALITY)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, range(pictures)))


def draw(number: int, pixels: int, seed: int = 0) -> NDArray[np.uint8]:
    """Picture `number`, uint8 [H, W, 3]: a function of its arguments alone."""
    random = np.random.Generator(np.random.Philox(key=[seed, number]))
    shape = (pixels, pixels * 3 // 4) if number % 2 else (pixels * 3 // 4, pixels)
    planes = np.full((3, *shape), 128.0, dtype=np.float32)
    for _ in range(EDGES):
        behind = _behind_an_edge(random, shape)
        for plane in planes:
            plane += np.float32(20.0 * random.standard_normal()) * behind
    cell, amplitude = max(pixels // 2, FINEST), random.uniform(*COARSEST)
    while cell >= FINEST:
        for part in planes if cell >= COLOURED else (planes,):
            part += amplitude * _smooth_noise(random, shape, cell)
        cell, amplitude = cell // 2, amplitude * FALL
    return np.ascontiguousarray(planes.clip(0.0, 255.0).astype(np.uint8).transpose(1, 2, 0))


def _smooth_noise(random: np.random.Generator, shape: tuple[int, int], cell: int) -> NDArray[np.float32]:
    """float32 [H, W] of about unit strength: a random grid of `cell` pixels, interpolated."""
    height, width = shape
    grid = random.standard_normal((-(-height // cell) + 1, -(-width // cell) + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR))


def _behind_an_edge(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """float32 [H, W], one on one side of a random parabola."""
    angle, offset, bend = (random.uniform(-bound, bound) for bound in (np.pi, 0.5, 1.0))
    y, x = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in shape)
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y[:, None]
    across = np.float32(np.cos(angle)) * y[:, None] - np.float32(np.sin(angle)) * x
    behind: NDArray[np.float32] = (along > offset + bend * across**2).astype(np.float32)
    return behind
