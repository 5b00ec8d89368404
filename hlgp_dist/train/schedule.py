"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from hlgp_dist.config.schema import CosineSchedule, Schedule


def rate_factor(schedule: Schedule, step: int, total_steps: int) -> float:
    """What the base rate is multiplied by at `step` of 0..total_steps-1 of a task."""
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if not isinstance(schedule, CosineSchedule):
        return 1.0
    progress = (step - warmup) / max(1, total_steps - warmup)
    final = schedule.final_fraction
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
