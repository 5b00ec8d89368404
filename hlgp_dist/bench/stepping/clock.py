"""Seconds of a call until the device has finished it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


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
