"""How much of the machine is ours."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """That this process may use: a container, a scheduler or `taskset` may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0))
