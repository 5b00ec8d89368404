"""The second gate: everything that can be refused before anything expensive starts, on the meta device."""

from __future__ import annotations

from pathlib import Path

import torch

from hlgp_dist.benchmarks.admission import check_origin
from hlgp_dist.config.schema import Backbone, RunConfig, ShardData
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import length_problems
from hlgp_dist.data.selection import check_pictures, selected
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import file_sha256
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import check_hash, check_hub, create_vit, meta_trunk
from hlgp_dist.models.weights import load_weights
from hlgp_dist.train.plan import TaskPlan, most_ranks
from hlgp_dist.train.session import setting_of
from hlgp_dist.train.supply import manifest_of
from hlgp_dist.types import TaskSpec


def preflight(config: RunConfig) -> tuple[TaskSpec, ...]:
    """Check configuration, data and weights against each other; the stages that will be trained.

    Raises:
        ConfigError: backbone, groups, tasks or ranks do not fit.
        DataError: data or weights are missing or do not fit.
    """
    manifest, stages = _fit(config)
    if isinstance(config.data, ShardData):
        for problem in length_problems(config.data.path, manifest):
            raise DataError(problem)
    check_weights(config.backbone)
    return stages


def check_weights(backbone: Backbone) -> None:
    """Raise DataError where its weights are a file that is missing, does not fit, or is not the one it names."""
    if backbone.weights in ("hub", "none"):
        return
    with torch.device("meta"):
        vit = create_vit(backbone)
    load_weights(vit, Path(backbone.weights))
    if backbone.sha256 is not None:
        check_hash(backbone, file_sha256(Path(backbone.weights)))


def check_fit(config: RunConfig) -> tuple[TaskSpec, ...]:
    """Preflight without a look into the weights, or at the shards beyond their manifest."""
    return _fit(config)[1]


def _fit(config: RunConfig) -> tuple[Manifest, tuple[TaskSpec, ...]]:
    trunk = meta_trunk(config.backbone)
    check_hub(config.backbone)
    manifest = manifest_of(config)
    if isinstance(config.data, ShardData):
        check_origin(manifest, config.benchmark, config.data.path)
    tasks = split_tasks(manifest.classes, config.benchmark)
    setting = setting_of(config, trunk.dimensions, manifest)
    with torch.device("meta"):
        build_method(config.method, setting)
    check_pictures(manifest, tasks, config.benchmark.validation_fraction, config.data.train_fraction)
    for stage in setting.tasks:
        pictures = len(selected(config, manifest, stage, "train"))
        _check_ranks(config, stage, pictures)
        if config.method.takes_gradients:
            _check_warmup(config, stage, TaskPlan.of(config, pictures, config.launch.num_workers))
    return manifest, setting.tasks


def _check_ranks(config: RunConfig, task: TaskSpec, pictures: int) -> None:
    ranks = config.launch.num_workers
    if ranks <= most_ranks(config, pictures):
        return
    batch = f", train.global_batch_size is {config.train.global_batch_size}" if config.method.takes_gradients else ""
    raise ConfigError(
        f"launch.num_workers: {ranks} ranks are more than there are samples for: task {task.index} has {pictures} "
        f"pictures{batch}"
    )


def _check_warmup(config: RunConfig, task: TaskSpec, plan: TaskPlan) -> None:
    warmup = config.optimizer.schedule.warmup_steps
    if warmup >= plan.total_steps:
        raise ConfigError(
            f"optimizer.schedule.warmup_steps: {warmup} must be less than the {plan.total_steps} steps of task "
            f"{task.index}"
        )
