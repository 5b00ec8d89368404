"""The resident memory of this process over epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

STATUS = Path("/proc/self/status")
SETTLED = 2
"""Epochs after which buffers and the pages of the map are there."""
FLAT = 0.001
"""Of the resident memory, that an epoch may add."""


def resident(field: str = "VmRSS") -> float:
    """MiB of this process; `RssAnon` is its own, without the pages of mapped files, which the host can take back."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")) / 1024


def over_epochs(run: Callable[[int], object], epochs: int) -> dict[str, object]:
    """MiB after each of `epochs` calls, the slope of a straight line through all but the first ones, flat or not.

    The last two are None where there are too few epochs for a line.
    """
    total, own = [], []
    for epoch in range(epochs):
        run(epoch)
        total.append(resident())
        own.append(resident("RssAnon"))
    slope = None
    if epochs >= SETTLED + 2:
        slope = float(np.polyfit(np.arange(epochs - SETTLED), total[SETTLED:], 1)[0])
    return {
        "resident_mib": total,
        "anonymous_mib": own,
        "slope_mib_per_epoch": slope,
        "flat": None if slope is None else abs(slope) <= FLAT * total[-1],
    }
