"""Pictures without a store: read and decoded each time they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.class_store import Layout
from hlgp_dist.data.decoding import Decoding
from hlgp_dist.data.filling import Counts
from hlgp_dist.data.source import BadSample


class Direct:
    """Of one class, by position in it."""

    def __init__(self, layout: Layout, counts: Counts) -> None:
        self._layout = layout
        self._counts = counts

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        """Raises BadSample."""
        decoding = Decoding(self._layout.pixels, self._layout.indices[position : position + 1])
        (decoded,) = decoding
        is_bad = isinstance(decoded, BadSample)
        self._counts.add(decoded=int(not is_bad), bytes_read=decoding.bytes_read)
        if isinstance(decoded, BadSample):
            raise decoded
        decoded.flags.writeable = False
        return decoded
