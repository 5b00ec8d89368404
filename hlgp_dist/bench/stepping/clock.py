"""Seconds of a call until the device has finished it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from hlgp_dist.bench.timing import wait_for

LEAST = {"cpu": 0.02, "cuda": 0.2}
"""Seconds that calls of a kind take together, so that to launch the first one and to wait for the last is little."""


class Clock:
    """Of one device."""

    def __init__(self, device: str) -> None:
        self.device = device

    def seconds(self, call: Callable[[], object]) -> float:
        """From nothing under way to nothing under way."""
        wait_for(self.device)
        began = time.perf_counter()
        call()
        wait_for(self.device)
        return time.perf_counter() - began

    def each(self, call: Callable[[], object]) -> float:
        """Of one among as many calls as take LEAST seconds, which a device finds queued, as in a run."""
        alone = self.seconds(call)
        count = math.ceil(LEAST[torch.device(self.device).type] / alone)

        def together() -> None:
            for _ in range(count):
                call()

        return alone if count <= 1 else self.seconds(together) / count

    def behind(self, prepare: Callable[[], object], call: Callable[[], object]) -> float:
        """Of a call alone, which a device finds queued behind what goes before it."""
        if not self.device.startswith("cuda"):
            prepare()
            return self.seconds(call)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        prepare()
        began.record()
        call()
        ended.record()
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3
