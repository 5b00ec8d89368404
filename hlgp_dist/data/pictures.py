"""Decoded pictures, by sample id: what batches are made of, wherever the pixels lie."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.picture import Form
from hlgp_dist.types import PictureSize


class Pictures(Protocol):
    """N pictures; a position is the sample id of every plan. Threads may read at once.

    labels: int64 [N], in stream order; shapes: int64 [N, 2], height and width as stored; size, form: see `picture`.
    """

    labels: NDArray[np.int64]
    shapes: NDArray[np.int64]
    size: PictureSize
    form: Form

    def __len__(self) -> int: ...

    def __getitem__(self, sample: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], read-only and contiguous; mapped, or decoded at this moment.

        Raises:
            BadSample: it is decoded at this moment, and cannot be.
        """
