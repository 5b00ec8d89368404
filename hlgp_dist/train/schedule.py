"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from hlgp_dist.config.optimizer_options import ConstantSchedule, QuarterCosineSchedule, Schedule


def rate_factor(schedule: Schedule, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """What the base rate is multiplied by at `step` of 0..total_steps-1 of a task."""
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if isinstance(schedule, ConstantSchedule):
        return 1.0
    if isinstance(schedule, QuarterCosineSchedule):
        last = (total_steps - 1) // steps_per_epoch
        return math.cos(0.495 * math.pi * (step // steps_per_epoch) / max(1, last))
    progress = (step - warmup) / max(1, total_steps - warmup)
    final = schedule.final_fraction
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
