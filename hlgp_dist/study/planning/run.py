"""`hlgp plan`: will it fit, how long, how much, before anything is booked. Nothing is started, asked or downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.load import cells, vary
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.files import write_json
from hlgp_dist.study.planning import tables
from hlgp_dist.study.planning.cluster import Cluster
from hlgp_dist.study.planning.search import SearchEstimate, estimate_search
from hlgp_dist.study.planning.study import CellEstimate, estimate_study
from hlgp_dist.terminal import console, show_grid
from hlgp_dist.train.estimate.bounds import Bound, Site, bounds
from hlgp_dist.train.estimate.devices import DeviceSheet, device_named
from hlgp_dist.train.estimate.run import RunEstimate, estimate_run
from hlgp_dist.train.estimate.speed import Speed, speed_of_bench, speed_of_device

WORKERS = tuple(2**power for power in range(11))
"""Of the table of bounds, as far as a batch can be shared by them."""
ROOMY = 0.9
"""Of a device's memory; above it, what torch loses between its blocks may be too much."""


@dataclass(frozen=True)
class PlanOptions:
    """What the command line says beside the configuration. gbits: a second, of a host's link."""

    bench: Path | None = None
    device: str | None = None
    mfu: float | None = None
    gpus: int | None = None
    nodes: int = 1
    price: float | None = None
    gbits: float = 100.0
    json: Path | None = None


@dataclass(frozen=True)
class _Given:
    """What it comes to."""

    options: PlanOptions
    sheet: DeviceSheet | None
    speed: Speed | None
    cluster: Cluster
    site: Site


def run_plan(config: RunConfig, options: PlanOptions) -> None:
    """Print the plan of a run, a search or a study, and write it as JSON where asked.

    Raises:
        ConfigError, DataError: the configuration does not fit, or the manifest is missing.
    """
    given = _given(config, options)
    if config.study is not None:
        plan = _plan_study(estimate_study(config, given.cluster, given.speed), given)
    elif config.search is not None:
        plan = _plan_search(config, estimate_search(config, given.cluster, given.speed), given)
    else:
        plan = _plan_run(config, estimate_run(config, room=given.cluster.gpu_bytes), given)
    if given.speed is None:
        console.print("no device given, hence no hours: --device NAME, or --bench FILE as measured", soft_wrap=True)
    if options.json is not None:
        speed = None if given.speed is None else given.speed.as_json()
        write_json(options.json, {"speed": speed, "cluster": asdict(given.cluster), "site": asdict(given.site), **plan})


def _given(config: RunConfig, options: PlanOptions) -> _Given:
    if options.bench is not None and options.device is not None and options.mfu is not None:
        raise ConfigError("--mfu: with --bench and --device it has no one meaning; give one of the two")
    sheet = None if options.device is None else device_named(options.device)
    speed = None
    if options.bench is not None:
        speed = speed_of_bench(options.bench, config, options.mfu)
        if config.study is not None or config.search is not None:
            speed = estimate_run(vary(config, {"study": None, "search": None})).in_flops(speed)
    elif sheet is not None:
        speed = speed_of_device(sheet, options.mfu)
    if speed is None and (options.price is not None or options.mfu is not None):
        raise ConfigError("--price, --mfu: have no effect without --device or --bench")
    gpus = options.gpus or _gpus_of_a_run(config)
    cluster = Cluster(gpus, options.nodes, None if sheet is None else sheet.memory)
    site = Site(bits_per_second=1e9 * options.gbits, loader_threads=config.data.loader_workers)
    return _Given(options, sheet, speed, cluster, site)


def _gpus_of_a_run(config: RunConfig) -> int:
    """Of a study, of the largest of its cells."""
    if config.study is None:
        return config.launch.num_workers
    every = cells(config)
    return max(every[name].launch.num_workers for name in config.study.chosen())


def _plan_run(config: RunConfig, run: RunEstimate, given: _Given) -> dict[str, Any]:
    gpu_bytes, speed = given.cluster.gpu_bytes, given.speed
    show_grid(tables.memory_grid(run, gpu_bytes))
    _say(_fits(run.memory.peak, given.sheet), tables.batches_line(config.engine, run, gpu_bytes))
    _say(tables.sharing_line(config.launch, run.memory.peak, gpu_bytes))
    show_grid(tables.work_grid(run))
    found: list[Bound] = []
    if speed is not None:
        work = run.step_work(config, speed)
        own = bounds(work, given.site, [run.ranks]) if run.steps else []
        show_grid(tables.time_grid(run, own[0] if own else None, speed, given.options.price))
        found = bounds(work, given.site, WORKERS) if run.steps else []
        if found:
            show_grid(tables.bounds_grid(found))
    return {"run": run_json(run, speed), "bounds": [asdict(bound) | {"by": bound.by} for bound in found]}


def _plan_search(config: RunConfig, search: SearchEstimate, given: _Given) -> dict[str, Any]:
    largest = max(search.trials, key=lambda run: run.memory.peak)
    show_grid(tables.memory_grid(largest, given.cluster.gpu_bytes))
    _say(_fits(search.peak, given.sheet))
    _say(tables.batches_line(config.engine, largest, given.cluster.gpu_bytes))
    _say(tables.sharing_line(config.launch, largest.memory.peak, given.cluster.gpu_bytes))
    _say(*tables.search_lines(search, given.cluster))
    if search.levels:
        show_grid(tables.rungs_grid(search))
    show_grid(tables.search_grid(search, given.options.price))
    return {"search": search_json(search, given.speed)}


def _plan_study(found: Sequence[CellEstimate], given: _Given) -> dict[str, Any]:
    show_grid(tables.study_grid(found, given.speed, given.options.price))
    _say(_fits(max(cell.peak for cell in found), given.sheet), tables.study_line(found, given.speed, given.cluster))
    _say(tables.disk_line(found))
    return {
        "cells": {
            cell.name: {
                "axes": cell.choices,
                "runs": cell.runs,
                "run": run_json(cell.run, given.speed),
                "search": None if cell.search is None else search_json(cell.search, given.speed),
                "hours": None if given.speed is None else cell.hours(given.speed),
                "wall_hours": None if given.speed is None else cell.wall(given.speed),
            }
            for cell in found
        }
    }


def _say(*lines: str | None) -> None:
    for line in filter(None, lines):
        console.print(line, soft_wrap=True, markup=False)


def _fits(peak: int, sheet: DeviceSheet | None) -> str | None:
    if sheet is None:
        return None
    if peak > sheet.memory:
        return (
            f"does NOT fit {sheet.name}: lower engine.micro_batch_size or evaluation.batch_size, or take more workers"
        )
    tight = ", tight: between its blocks torch loses some" if peak > ROOMY * sheet.memory else ""
    return f"fits {sheet.name}{tight}"


def run_json(run: RunEstimate, speed: Speed | None) -> dict[str, Any]:
    """Everything counted; bytes, FLOPs, seconds."""
    stages = [asdict(work) | run.stage_flops(work)._asdict() for work in run.works]
    seconds = [None] * len(stages) if speed is None else run.stage_seconds(speed)
    return {
        "ranks": run.ranks,
        "precision": run.precision,
        "micro_batch": run.micro_batch,
        "accumulation": run.accumulation,
        "evaluation_batch": run.tested,
        "recomputes_blocks": run.recomputes,
        "steps": run.steps,
        "flops": run.flops,
        "pass_flops": run.pass_flops,
        "memory": asdict(run.memory) | {"peak": run.memory.peak},
        "costs": [asdict(cost) for cost in run.costs],
        "stages": [stage | {"device_seconds": each} for stage, each in zip(stages, seconds, strict=True)],
        "data": asdict(run.data) | {"stored": run.data.stored},
        "checkpoints": run.checkpoints._asdict(),
        "all_reduce_bytes": run.traffic,
        "gathered_bytes": run.gathered,
        "device_hours": None if speed is None else run.device_hours(speed),
    }


def search_json(search: SearchEstimate, speed: Speed | None) -> dict[str, Any]:
    """Likewise."""
    return {
        "configurations": search.configurations,
        "seeds": search.seeds,
        "rungs": list(search.levels),
        "alive": list(search.alive),
        "at_once": search.at_once,
        "trials_per_gpu": search.per_gpu,
        "most": asdict(search.most),
        "expected": asdict(search.expected),
        "bounded": search.bounded,
        "checkpoints": search.checkpoints,
        "trials": [run_json(run, speed) for run in search.trials],
        "refit": run_json(search.refit, speed),
    }
