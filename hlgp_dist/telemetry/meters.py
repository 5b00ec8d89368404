"""Running means that stay on the device, and the clock of a training loop.

Nothing here waits for the device but `drain` and `read`, once per log interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path

import torch
from torch import Tensor

GIB = 2**30


class Meters:
    """Means over ranks and steps of the declared names; every rank declares the same, whatever its share holds."""

    def __init__(self, names: Sequence[str], device: torch.device | str) -> None:
        assert len(set(names)) == len(names)
        self._index = {name: position for position, name in enumerate(names)}
        self._totals = torch.zeros(2, len(names), dtype=torch.float64, device=device)  # row 0: sums, row 1: counts

    def add(self, name: str, total: Tensor | float, count: Tensor | float = 1.0) -> None:
        """Add a sum over `count` items, as 0-d tensors on the device or as numbers."""
        position = self._index[name]
        for row, value in enumerate((total, count)):
            self._totals[row, position].add_(value.detach() if isinstance(value, Tensor) else value)

    def drain(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means since the last call, after one sum over ranks (`reduce`) and one host sync; empty ones left out."""
        sums, counts = reduce(self._totals).tolist()
        self._totals.zero_()
        return {name: sums[at] / counts[at] for name, at in self._index.items() if counts[at] > 0}


Moment = float | torch.cuda.Event


def _moment(device: torch.device) -> Moment:
    """Now; of a GPU when it comes to what it is given from here on."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(began: Moment, end: Moment) -> float:
    """Seconds; of a GPU once it has come to the end."""
    if isinstance(began, float) or isinstance(end, float):
        assert isinstance(began, float) and isinstance(end, float)
        return end - began
    return float(began.elapsed_time(end)) / 1000.0


class Clock:
    """Throughput, the part of the time spent waiting for data, and memory, since the last `read` or `restart`."""

    def __init__(self, device: torch.device | str, num_devices: int) -> None:
        self._device = torch.device(device)
        self._num_devices = num_devices
        self.restart()

    def restart(self) -> None:
        """Leave out what happened since the last reading, such as an evaluation."""
        self._started = time.perf_counter()
        self._waits: list[tuple[Moment, Moment]] = []
        self._images = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the fetch of a batch. A GPU waits for it only once it has done all that it was given before."""
        began = _moment(self._device)
        try:
            yield
        finally:
            self._waits.append((began, _moment(self._device)))

    def count(self, images: int) -> None:
        """Images of a global batch, over all devices."""
        self._images += images

    def read(self) -> dict[str, float]:
        """Scalars by tag; call it right after a host sync, or unfinished device work is not counted. Restarts."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        rate = self._images / seconds
        readings = {
            "throughput/images_per_s": rate,
            "throughput/images_per_s_per_gpu": rate / self._num_devices,
            "throughput/data_wait_frac": min(sum(starmap(_between, self._waits)) / seconds, 1.0),
            **memory(self._device),
        }
        self.restart()
        return readings


def memory(device: torch.device) -> dict[str, float]:
    """Of a GPU the peak reserved GiB and the allocator's retries, else the process's resident GiB (Linux)."""
    if device.type == "cuda":
        stats = torch.cuda.memory_stats(device)
        return {
            "memory/reserved_gib": stats.get("reserved_bytes.all.peak", 0) / GIB,
            "memory/alloc_retries": float(stats.get("num_alloc_retries", 0)),
        }
    status = Path("/proc/self/status")
    resident = [line.split()[1] for line in _lines(status) if line.startswith("VmRSS:")]
    return {"memory/rss_gib": int(resident[0]) * 1024 / GIB} if resident else {}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
