"""What torch's profiler sees of a call: its operations, its course, the most memory it holds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from hlgp_dist.files import write_atomically


class Operation(NamedTuple):
    """Of torch, by its name: how often in a step, and its milliseconds on the device without those that it calls."""

    name: str
    calls: int
    ms: float


def profiled(call: Callable[[], None], device: str, trace: Path) -> list[Operation]:
    """The operations of the second of two calls, the longest first, those that take no time left out.

    trace: the file for its course, which Perfetto (ui.perfetto.dev) opens.
    """
    is_cuda = device.startswith("cuda")
    call()
    seen = _recorded(call, ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * is_cuda)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(written))
        write_atomically(trace, written.read_bytes())
    averages = [event for event in seen.key_averages() if event.device_type == DeviceType.CPU]
    taken = attrgetter("self_device_time_total" if is_cuda else "self_cpu_time_total")  # microseconds
    found = [Operation(event.key, event.count, 1e-3 * taken(event)) for event in averages if taken(event) > 0]
    return sorted(found, key=lambda each: -each.ms)


def most_allocated(call: Callable[[], None]) -> int:
    """Bytes that torch's allocator gives out on the host at once, beyond those from before."""
    seen: Any = _recorded(call, ProfilerActivity.CPU, memory=True)
    events: list[Any] = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max(initial=0))


def _recorded(call: Callable[[], None], *activities: ProfilerActivity, memory: bool = False) -> profile:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells on the terminal when it starts and stops
    seen = profile(activities=activities, profile_memory=memory)
    with seen:
        call()
    return seen
