"""Host memory for batches that is used again, once no tensor lies in it.

Fresh pages cost more than the copy into them, and blocks of ever other sizes would let the heap grow.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """As many blocks as there were batches alive at once. One thread asks; any may let go."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def empty(self, length: int) -> Tensor:
        """uint8 [length], uninitialised; its memory comes back when no tensor or array of it is left."""
        fitting = [place for place, block in enumerate(self._free) if len(block) >= length]
        if fitting:
            block = self._free.pop(min(fitting, key=lambda place: len(self._free[place])))
        else:
            del self._free[-1:]  # too small: the new one is in its place
            block = np.empty(1 << (length - 1).bit_length(), dtype=np.uint8)
        lent = block[:length]
        weakref.finalize(lent, self._free.append, block).atexit = False
        return torch.from_numpy(lent)


class Memory:
    """What batches on a CPU are made in on their way from stored pixels to floats; of whoever makes them."""

    def __init__(self) -> None:
        self.images, self.floats = Buffers(), Buffers()
