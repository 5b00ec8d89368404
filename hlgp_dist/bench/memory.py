"""The resident memory of this process over epochs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hlgp_dist.train.host_memory import resident

MIB = 2**20
SETTLED = 2
"""Epochs after which buffers and the pages of the map are there."""
FLAT = 0.001
"""Of the resident memory, that an epoch may add."""


def over_epochs(run: Callable[[int], object], epochs: int) -> dict[str, object]:
    """MiB after each of `epochs` calls, the slope of a straight line through all but the first ones, flat or not.

    The last two are None where there are too few epochs for a line.
    """
    total, own = [], []
    for epoch in range(epochs):
        run(epoch)
        total.append(resident() / MIB)
        own.append(resident("RssAnon") / MIB)
    slope = None
    if epochs >= SETTLED + 2:
        slope = float(np.polyfit(np.arange(epochs - SETTLED), total[SETTLED:], 1)[0])
    return {
        "resident_mib": total,
        "anonymous_mib": own,
        "slope_mib_per_epoch": slope,
        "flat": None if slope is None else abs(slope) <= FLAT * total[-1],
    }
