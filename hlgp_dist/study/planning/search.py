"""What a search will take: all trials to their end, what is expected of successive halving, and the winner's refit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hlgp_dist.config.load import apply
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import Search
from hlgp_dist.config.space import samples
from hlgp_dist.study.planning.cluster import Cluster, share_of_gpu
from hlgp_dist.train.estimate.run import RunEstimate, estimate_run
from hlgp_dist.train.estimate.speed import Speed
from hlgp_dist.tuning.proposals import num_configurations
from hlgp_dist.tuning.rungs import STRATIFIED, Rungs
from hlgp_dist.tuning.runs import costly_values, refit_config, trial_config
from hlgp_dist.tuning.survivors import expected_survivors
from hlgp_dist.tuning.trial import num_replicates


@dataclass(frozen=True)
class Amount:
    """Of trials, over all of them; hours: of devices, waiting left out, None where no speed is known."""

    trials: float
    steps: float
    flops: float
    hours: float | None
    wall: float | None


@dataclass(frozen=True)
class SearchEstimate:
    """trials: one for each combination of the searched values that matter here; alive: configurations at each task.

    at_once, per_gpu: trials; checkpoints: bytes that stay of all of them and of the refit; bounded: by which budget.
    """

    configurations: int
    seeds: int
    levels: tuple[int, ...]
    alive: tuple[float, ...]
    trials: tuple[RunEstimate, ...]
    at_once: int
    per_gpu: int
    most: Amount
    expected: Amount
    refit: RunEstimate
    refit_amount: Amount
    checkpoints: int
    bounded: str | None

    @property
    def peak(self) -> int:
        """Bytes of a rank, of the largest trial or the refit."""
        return max(run.memory.peak for run in (*self.trials, self.refit))


@dataclass(frozen=True)
class _Places:
    """Where trials run: so many workers each, so many at once, `per_gpu` of them sharing one of `gpus`."""

    workers: int
    at_once: int
    per_gpu: int
    gpus: int

    @property
    def busy(self) -> int:
        """GPUs."""
        return min(-(-self.at_once * self.workers // self.per_gpu), self.gpus)


def estimate_search(config: RunConfig, cluster: Cluster, speed: Speed | None) -> SearchEstimate:
    """Raises:
    ConfigError, DataError: as the search's own checks would.
    """
    search, room = config.search, cluster.gpu_bytes
    assert search is not None
    trial, refit = trial_config(config, "trials"), estimate_run(refit_config(config, "search", {}), room=room)
    runs = tuple(estimate_run(apply(trial, values), room=room) for values in costly_values(search))
    seeds = num_replicates(search)
    configurations, bounded = _configurations(search, seeds)
    trials = configurations * seeds
    alive = _alive(search, configurations, len(runs[0].works))
    places = _places(config, search, runs, trials, cluster)
    most, _ = _within(search, _amount(runs, [float(trials)] * len(alive), places, speed), bounded)
    expected, bounded = _within(search, _amount(runs, [seeds * each for each in alive], places, speed), bounded)
    return SearchEstimate(
        configurations=configurations,
        seeds=seeds,
        levels=Rungs(search.scheduler, len(alive)).levels,
        alive=alive,
        trials=runs,
        at_once=places.at_once,
        per_gpu=places.per_gpu,
        most=most,
        expected=expected,
        refit=refit,
        refit_amount=_once(refit, speed),
        checkpoints=trials * max(run.checkpoints.kept for run in runs) + refit.checkpoints.kept,
        bounded=bounded,
    )


def _places(config: RunConfig, search: Search, runs: Sequence[RunEstimate], trials: int, cluster: Cluster) -> _Places:
    workers = config.launch.num_workers
    per_gpu = share_of_gpu(config.launch, max(run.memory.peak for run in runs), cluster.gpu_bytes)
    at_once = min(trials, cluster.at_once(workers, per_gpu, search.max_concurrent_trials))
    return _Places(workers, at_once, per_gpu, cluster.gpus)


def _alive(search: Search, configurations: int, num_tasks: int) -> tuple[float, ...]:
    """Configurations at each task, all groups together that are compared apart."""
    strata = _strata(search)
    return tuple(strata * each for each in expected_survivors(search.scheduler, configurations / strata, num_tasks))


def _strata(search: Search) -> int:
    """Groups that ASHA compares apart, if each combination of backbones is drawn equally often."""
    return math.prod(len(samples(domain)) for key, domain in search.space.items() if key.startswith(STRATIFIED))


def _configurations(search: Search, seeds: int) -> tuple[int, str | None]:
    """As many as begin, and the budget that says so."""
    number, limit = num_configurations(search), search.budget.trials
    if limit is None or number * seeds <= limit:
        return number, None
    return limit // seeds, f"search.budget.trials={limit}"


def _amount(runs: Sequence[RunEstimate], rates: Sequence[float], places: _Places, speed: Speed | None) -> Amount:
    """rates: trials that train each task. A mean over the runs, each as likely as the others."""

    def total(each: Sequence[float]) -> float:
        return sum(rate * value for rate, value in zip(rates, each, strict=False))

    steps = _mean([total([work.steps for work in run.works]) for run in runs])
    flops = _mean([total([sum(run.stage_flops(work)) for work in run.works]) for run in runs])
    if speed is None:
        return Amount(rates[0], steps, flops, None, None)
    hours = _mean([total(run.stage_seconds(speed)) for run in runs]) / 3600
    longest = max(run.device_hours(speed) for run in runs) / places.workers
    return Amount(rates[0], steps, flops, hours, max(longest, hours / places.busy))


def _once(run: RunEstimate, speed: Speed | None) -> Amount:
    used = None if speed is None else run.device_hours(speed)
    return Amount(1, run.steps, run.flops, used, None if used is None else used / run.ranks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _within(search: Search, amount: Amount, bounded: str | None) -> tuple[Amount, str | None]:
    """No more than the budget of hours."""
    hours, wall, budget = amount.hours, amount.wall, search.budget
    if hours is None or wall is None:
        return amount, bounded
    parts = {
        f"search.budget.{key}={limit:g}": limit / spent
        for key, limit, spent in (("gpu_hours", budget.gpu_hours, hours), ("wall_hours", budget.wall_hours, wall))
        if limit is not None and limit < spent
    }
    if not parts:
        return amount, bounded
    name = min(parts, key=lambda key: parts[key])
    part = parts[name]
    return Amount(amount.trials, part * amount.steps, part * amount.flops, part * hours, part * wall), name
