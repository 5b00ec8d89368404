"""A run on Ray Train: the same worker body, one Ray worker a rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import ray.train
import ray.train.torch
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import Failure
from hlgp_dist.launch.cluster import attended, enter, ray_cluster, runs_at_once, worker_resources
from hlgp_dist.launch.trials import first_line
from hlgp_dist.launch.worker import failure_of, work
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import World

SCREEN = "progress.log"
"""RUN/logs/: what a rank without a terminal shows."""


class RayContext:
    """A rank among the workers of a Ray Train worker group."""

    def __init__(self, screen: TextIO) -> None:
        context = ray.train.get_context()
        self.world = World(context.get_world_rank(), context.get_world_size(), context.get_local_rank())
        self.device = str(ray.train.torch.get_device())
        self.screen = screen

    def report(self, metrics: Mapping[str, float]) -> None:
        ray.train.report(dict(metrics))

    def stop_requested(self) -> bool:
        """Ray ends workers itself; a checkpoint is at most `checkpoint.every_steps` old."""
        return False


def run_on_ray(config: RunConfig, folder: RunFolder) -> None:
    """One run on a cluster; what its first rank shows is shown here, where this machine sees RUN.

    Raises:
        Failure: of the kind and with the reason that a rank left behind.
        Interrupted: by a signal.
    """
    with ray_cluster(config.launch):
        runs_at_once(config.launch)
        with _copied(folder.logs / SCREEN, sys.stderr) as copy:
            attended(lambda: fit(config, folder), meanwhile=copy)


@contextmanager
def _copied(file: Path, screen: TextIO) -> Iterator[Callable[[], None]]:
    """A function that copies what the file has grown by since the last call."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+") as stream:
        stream.seek(0, os.SEEK_END)

        def copy() -> None:
            text = stream.read()
            if text:
                print(text, end="", file=screen, flush=True)

        yield copy


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
        torch_config=TorchConfig(
            backend="nccl" if "GPU" in resources else "gloo", timeout_s=config.engine.timeout_seconds
        ),
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
    """What the first worker failed by."""
    return first_line(next(iter(getattr(error, "worker_failures", {}).values()), error))


def _worker_main(payload: dict[str, Any]) -> None:
    enter(payload["directory"])
    config, folder = RunConfig.model_validate(payload["config"]), RunFolder(payload["folder"])
    folder.logs.mkdir(parents=True, exist_ok=True)
    with open(folder.logs / SCREEN, "a") as screen:
        code = work(config, RayContext(screen), folder)
    if code:
        raise RuntimeError(f"exit code {code}")
