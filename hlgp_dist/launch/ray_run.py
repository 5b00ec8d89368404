"""A run on Ray Train: the same worker body, one Ray worker a rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import Failure
from hlgp_dist.launch.cluster import enter, ray_cluster, runs_at_once, worker_resources
from hlgp_dist.launch.worker import failure_of, work
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import World


class RayContext:
    """A rank among the workers of a Ray Train worker group."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.world = World(context.get_world_rank(), context.get_world_size(), context.get_local_rank())
        self.device = str(ray.train.torch.get_device())

    def report(self, metrics: Mapping[str, float]) -> None:
        ray.train.report(dict(metrics))

    def stop_requested(self) -> bool:
        """Ray ends workers itself; a checkpoint is at most `checkpoint.every_steps` old."""
        return False


def run_on_ray(config: RunConfig, folder: RunFolder) -> None:
    """One run on a cluster.

    Raises:
        Failure: of the kind and with the reason that a rank left behind.
    """
    with ray_cluster(config.launch):
        runs_at_once(config.launch)
        fit(config, folder)


def fit(config: RunConfig, folder: RunFolder, callbacks: Sequence[Any] = ()) -> None:
    """Run the worker group to its end; this process must be connected to Ray."""
    resources = worker_resources(config.launch)
    trainer = TorchTrainer(
        _worker_main,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "folder": str(folder.path.absolute()),
            "directory": str(Path.cwd()),
        },
        scaling_config=ScalingConfig(
            num_workers=config.launch.num_workers, use_gpu="GPU" in resources, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend="nccl" if "GPU" in resources else "gloo"),
        run_config=ray.train.RunConfig(
            name="ray",
            storage_path=str(folder.logs.absolute()),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise failure_of(folder) or Failure(f"a worker of the run was lost: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """The first line of what the first worker failed by, without Ray's wrapping."""
    failure = next(iter(getattr(error, "worker_failures", {}).values()), error)
    lines = [line.strip() for line in str(getattr(failure, "cause", failure)).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(failure).__name__


def _worker_main(payload: dict[str, Any]) -> None:
    enter(payload["directory"])
    config = RunConfig.model_validate(payload["config"])
    code = work(config, RayContext(), RunFolder(payload["folder"]))
    if code:
        raise RuntimeError(f"exit code {code}")
