"""Seconds of a call until the device has finished it, and the most memory that was in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from hlgp_dist.bench.memory import resident

CLEAR = Path("/proc/self/clear_refs")
PEAK = "5"
"""Linux: what makes a process's highest resident size its present one."""


class Clock:
    """Of one device."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._is_cuda = device.startswith("cuda")

    def seconds(self, call: Callable[[], object]) -> float:
        """From nothing under way to nothing under way."""
        self._wait()
        began = time.perf_counter()
        call()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        """`peak_bytes` counts from here."""
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            CLEAR.write_text(PEAK)

    def peak_bytes(self) -> int:
        """Of a GPU's memory what torch gave out, on a CPU what the process held, code and all."""
        if self._is_cuda:
            return torch.cuda.max_memory_allocated(self.device)
        return int(resident("VmHWM") * 2**20)
