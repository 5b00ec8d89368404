"""What of stored pictures goes into a batch: a region of each, or all of it as evaluated. Memory, and copies into it.

Legend: B pictures, S pixels of a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlgp_dist.data.buffers import Buffers, Memory
from hlgp_dist.data.picture import as_evaluated
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.types import Regions

Integers = NDArray[np.int64]
Copy = Callable[[Integers], None]
"""Fills in the pictures at these positions of the batch; several threads may, at distinct ones."""


class Loading:
    """How the batches of a rank are made, which changes nothing in them.

    Args:
        device: where they go; for a GPU they lie in pinned memory.
        workers: threads, see `data.loader_workers`.
        beat: called at every batch to evaluate.
    """

    def __init__(self, device: str = "cpu", workers: int = 1, beat: Callable[[], None] = lambda: None) -> None:
        self.workers, self.pin, self.beat = workers, device.startswith("cuda"), beat
        self.memory = Memory()
        self._buffers = Buffers() if device == "cpu" else None

    def empty(self, length: int) -> Tensor:
        """uint8 [length] to be filled. Pinned memory torch itself uses again, once what left it has arrived."""
        if self._buffers is not None:
            return self._buffers.empty(length)
        return torch.empty(length, dtype=torch.uint8, pin_memory=self.pin)


def whole_pictures(pictures: Pictures, samples: Integers, loading: Loading) -> tuple[Tensor, Copy]:
    """uint8 [B, 3, S, S], a view of [B, S, S, 3], of samples [B]."""
    size = pictures.size
    shape = (len(samples), size.size, size.size, 3)
    images = loading.empty(math.prod(shape)).view(shape)
    pixels = images.numpy()

    def copy(positions: Integers) -> None:
        for position in positions.tolist():
            pixels[position] = as_evaluated(pictures[samples[position]], size, pictures.form)

    return images.permute(0, 3, 1, 2), copy


def regions(pictures: Pictures, samples: Integers, boxes: Integers, loading: Loading) -> tuple[Regions, Copy]:
    """The boxes [B, 4] (see `crop_boxes`) of samples [B]."""
    shapes = boxes[:, 2:].copy()
    stops = 3 * shapes.prod(1).cumsum()
    flat = loading.empty(int(stops[-1]))
    pixels = flat.numpy()

    def copy(positions: Integers) -> None:
        for position in positions.tolist():
            (top, left, height, width), stop = boxes[position].tolist(), stops[position]
            region = pixels[stop - 3 * height * width : stop].reshape(height, width, 3)
            region[...] = pictures[samples[position]][top : top + height, left : left + width]

    return Regions(flat, torch.from_numpy(shapes)), copy
