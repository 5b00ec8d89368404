"""Where a number was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from hlgp_dist.train.environment import environment


def machine(device: str) -> dict[str, object]:
    """Processor, the cores this process may use, device, versions."""
    known = environment()
    del known["platform"]  # names a kernel's build
    return known | {
        "processor": _processor(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "pillow": version("pillow"),
    }


def _processor() -> str:
    """Linux says it in /proc, others by uname."""
    cpus = Path("/proc/cpuinfo")
    names = cpus.read_text().splitlines() if cpus.exists() else []
    return next((line.partition(": ")[2] for line in names if line.startswith("model name")), platform.processor())
