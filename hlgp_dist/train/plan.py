"""How many steps a task takes: the preflight, the run and the loop all ask here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.plan import accumulation_steps, steps_per_epoch


@dataclass(frozen=True)
class TaskPlan:
    """Of one task, the same on every rank."""

    steps_per_epoch: int
    total_steps: int
    accumulation: int

    @classmethod
    def of(cls, config: RunConfig, num_samples: int, ranks: int) -> TaskPlan:
        """Of a method that takes gradients; another has no step."""
        train = config.train
        per_epoch = steps_per_epoch(num_samples, train.global_batch_size)
        total = per_epoch * train.epochs
        accumulation = accumulation_steps(train.global_batch_size, ranks, config.engine.known_micro_batch)
        return cls(per_epoch, min(total, train.max_steps_per_task or total), accumulation)


def most_ranks(config: RunConfig, num_samples: int) -> int:
    """That a task can be spread over: each has a sample of it and, where there are steps, of a whole batch."""
    return min(num_samples, config.train.global_batch_size) if config.method.takes_gradients else num_samples


def planned_steps(config: RunConfig, num_samples: Iterable[int], ranks: int) -> int:
    """Of a whole run whose stages have so many samples each."""
    if not config.method.takes_gradients:
        return 0
    return sum(TaskPlan.of(config, samples, ranks).total_steps for samples in num_samples)
