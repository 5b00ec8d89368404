"""`hlgp bench scaling`: a training step on more and more ranks, with as many pictures a rank, or in all.

W ranks; a step is foreseen as the slowest rank's own work and one sum over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from statistics import fmean, median
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from hlgp_dist.bench.machine import machine
from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.bench.stepping.options import StepOptions
from hlgp_dist.bench.stepping.stepper import Stepper, joined
from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import ConfigError, EnvironmentFailure
from hlgp_dist.ports import free_port

WARM_UP = 1


@dataclass(frozen=True)
class RankSeconds:
    """Of one rank, medians: a step; its forward and backward pass alone; the sum over ranks alone."""

    step: float
    compute: float
    reduce: float


@dataclass(frozen=True)
class Point:
    """Of W ranks with `share` pictures each; seconds: of a step; slowest, mean: of the ranks' own work."""

    workers: int
    share: int
    seconds: float
    slowest: float
    mean: float
    reduce: float

    @property
    def images_per_second(self) -> float:
        """Of all ranks together."""
        return self.workers * self.share / self.seconds

    @property
    def foreseen(self) -> float:
        """Seconds of a step."""
        return self.slowest + self.reduce


def bench_scaling(options: StepOptions, workers: Sequence[int]) -> dict[str, Any]:
    """Points and efficiencies, weak and strong, with the machine and the configuration beside them.

    Raises:
        ConfigError: a number of ranks that cannot share the batch alike, or a method that trains nothing.
        EnvironmentFailure: fewer GPUs than ranks.
    """
    check_workers(options, workers)
    threads = max(1, usable_cores() // max(workers))
    measured = cache(lambda number, share: _measured(options, number, share, threads))  # one rank has all either way
    weak = [measured(number, options.batch_size) for number in workers]
    strong = [measured(number, options.batch_size // number) for number in workers]
    return {
        "weak": [_told(point, weak[0]) for point in weak],
        "strong": [_told(point, strong[0]) for point in strong],
        "threads_per_worker": threads,
        "batch_size": options.batch_size,
        "config": options.config.model_dump(mode="json", include={"backbone", "method", "optimizer", "engine"}),
        "machine": machine(options.device),
    }


def check_workers(options: StepOptions, workers: Sequence[int]) -> None:
    """See `bench_scaling`."""
    if not options.config.method.takes_gradients:
        raise ConfigError(f"--method={options.config.method.kind}: trains nothing")
    for number in workers:
        if number < 1 or options.batch_size % number:
            raise ConfigError(f"--workers: {number} cannot share --batch={options.batch_size} alike")
    if options.device == "cuda" and max(workers) > torch.cuda.device_count():
        raise EnvironmentFailure(f"--workers: there are {torch.cuda.device_count()} GPUs")


def _told(point: Point, first: Point) -> dict[str, Any]:
    ideal = first.images_per_second / first.workers * point.workers
    rates = {"images_per_second": point.images_per_second, "efficiency": point.images_per_second / ideal}
    return asdict(point) | rates | {"foreseen_seconds": point.foreseen}


def _measured(options: StepOptions, workers: int, share: int, threads: int) -> Point:
    answers = get_context("spawn").SimpleQueue()
    told = (workers, replace(options, batch_size=share), threads, free_port(), answers)
    spawn(_rank, told, nprocs=workers)
    ranks: list[RankSeconds] = [answers.get() for _ in range(workers)]
    own = [rank.compute for rank in ranks]
    step, reduce = (max(getattr(rank, name) for rank in ranks) for name in ("step", "reduce"))
    return Point(workers, share, step, max(own), fmean(own), reduce)


def _rank(rank: int, size: int, options: StepOptions, threads: int, port: int, answers: Any) -> None:
    torch.set_num_threads(threads)
    device = f"cuda:{rank}" if options.device == "cuda" else options.device
    if options.device == "cuda":
        torch.cuda.set_device(rank)
    with joined(device, rank, size, port):
        stepper = Stepper(replace(options, device=device))
        stepper.begin(options.tasks[-1])
        clock = Clock(device)
        parts = (stepper.train_step, stepper.compute, stepper.reduce)
        answers.put(RankSeconds(*(_seconds(part, clock, options.rounds) for part in parts)))
        stepper.close()


def _seconds(call: Callable[[], None], clock: Clock, rounds: int) -> float:
    """Median of calls that all ranks begin together."""
    taken = []
    for _ in range(WARM_UP + rounds):
        dist.barrier()
        taken.append(clock.seconds(call))
    return median(taken[WARM_UP:])
