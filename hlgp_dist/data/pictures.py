"""Decoded pictures, by sample id: what batches are made of, wherever the pixels lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.picture import Form
from hlgp_dist.types import PictureSize


class Pictures(Protocol):
    """N pictures; a position is the sample id of every plan. Threads may read at once.

    labels: int64 [N], in stream order; shapes: int64 [N, 2], height and width as stored; size, form: see `picture`.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def shapes(self) -> NDArray[np.int64]: ...

    @property
    def size(self) -> PictureSize: ...

    @property
    def form(self) -> Form: ...

    def __len__(self) -> int: ...

    def __getitem__(self, sample: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], read-only and contiguous; mapped, or decoded at this moment.

        Raises:
            BadSample: it is decoded at this moment, and cannot be.
        """


class ClassPictures(Protocol):
    """The pictures of one class, by position in it."""

    def __getitem__(self, position: int) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, eq=False)
class Gathered:
    """Pictures out of several classes. classes: theirs; which, position: int64 [N], the class and the place in it."""

    classes: Sequence[ClassPictures]
    which: NDArray[np.int64]
    position: NDArray[np.int64]
    labels: NDArray[np.int64]
    shapes: NDArray[np.int64]
    size: PictureSize
    form: Form

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> NDArray[np.uint8]:
        return self.classes[int(self.which[sample])][int(self.position[sample])]

    def without(self, samples: Collection[int]) -> Gathered:
        """The others; their ids close up."""
        columns = {
            name: np.delete(getattr(self, name), list(samples), axis=0)
            for name in ("which", "position", "labels", "shapes")
        }
        return replace(self, **columns)
