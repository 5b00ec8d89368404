"""Where a number was measured."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from hlgp_dist.train.environment import device_name, environment


def machine(device: str) -> dict[str, object]:
    """Processor, the cores this process may use, device, versions."""
    known = environment()
    del known["platform"]  # names a kernel's build
    return known | {
        "processor": _processor(),
        "device": device_name(device),
        "pillow": version("pillow"),
    }


def _processor() -> str:
    """Linux says it in /proc, others by uname."""
    cpus = Path("/proc/cpuinfo")
    names = cpus.read_text().splitlines() if cpus.exists() else []
    return next((line.partition(": ")[2] for line in names if line.startswith("model name")), platform.processor())
