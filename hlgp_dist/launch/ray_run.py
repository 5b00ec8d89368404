"""A run on Ray Train: the same worker body, one Ray worker a rank."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig

from hlgp_dist.config.load import apply
from hlgp_dist.config.places import absolute, is_remote
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import EnvironmentFailure, LostWorker, first_line
from hlgp_dist.launch.abandoned import UnwatchedTrainer, free_abandoned
from hlgp_dist.launch.channel import Channel, request_of
from hlgp_dist.launch.cluster import enter, ray_cluster, worker_resources
from hlgp_dist.launch.losses import GONE, is_full, worker_failure
from hlgp_dist.launch.many_ranks import ManyRanks
from hlgp_dist.launch.notice import HeedSigterm, is_told_to_go
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.packing import gpu_share, with_share
from hlgp_dist.launch.prepare import open_run
from hlgp_dist.launch.retrying import run_attempts
from hlgp_dist.launch.room import await_placeable, room, runs_at_once, workers_at_start
from hlgp_dist.launch.stop import Stop, attended
from hlgp_dist.launch.storage import AWAY_SECONDS, View, event_files, journals, without_tensors
from hlgp_dist.launch.watch import Watch
from hlgp_dist.launch.worker import failure_of, log_name, work
from hlgp_dist.train.folder import NOT_SHARED, RunFolder
from hlgp_dist.train.footprint import check_copies
from hlgp_dist.types import Pulse, World

SCREEN = "progress.log"
"""RUN/logs/: what a rank without a terminal shows."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Ray leaves a worker without GPUs those of its node, and DeepSpeed would take them."""


class RayContext:
    """A rank among the workers of a Ray Train worker group."""

    pulse: Pulse

    def __init__(self, screen: TextIO) -> None:
        context = ray.train.get_context()
        self.world = World(context.get_world_rank(), context.get_world_size(), context.get_local_world_size())
        self.device = str(ray.train.torch.get_device())
        self.screen = screen

    def report(self, metrics: Mapping[str, float]) -> None:
        try:
            ray.train.report(dict(metrics))
        except GONE as error:  # what Ray keeps of the run on some host: the host or the network there is away
            raise LostWorker(f"Ray does not answer: {first_line(error)}") from error

    def stop_requested(self) -> bool:
        """By the launcher, or because a host of the run is about to be taken away."""
        return self.pulse.stop_requested or is_told_to_go()


def run_on_ray(config: RunConfig, folder: RunFolder, stop: Stop) -> None:
    """One run on a cluster; what its first rank shows is shown here, where this machine sees RUN.

    Raises:
        Failure: of the kind and with the reason that a rank left behind.
        Interrupted: `stop` was requested, and the ranks have saved.
    """
    with ray_cluster(config.launch, stop):
        attended(lambda: await_placeable(config.launch, stop), stop)
        config = with_share(config, gpu_share(config.launch, [config]))
        attended(lambda: fit(config, folder, stop=stop), stop, meanwhile=_follower(folder.logs / SCREEN, sys.stderr))


def _follower(file: Path, screen: TextIO) -> Callable[[], None]:
    """A function that copies what the file has grown by since the last call."""
    shown = file.stat().st_size if file.is_file() else 0

    def copy() -> None:
        nonlocal shown
        if file.is_file():  # opened each time: a copy is replaced when it is fetched again
            with file.open("rb") as stream:
                stream.seek(shown)
                text = stream.read()
            shown += len(text)
            print(text.decode(errors="replace"), end="", file=screen, flush=True)

    return copy


def fit(
    config: RunConfig,
    folder: RunFolder,
    callbacks: Sequence[Any] = (),
    stop: Stop | None = None,
    before_attempt: Callable[[], None] = lambda: None,
) -> None:
    """Run worker groups until one ends well; this process must be connected to Ray.

    Raises:
        Failure: of the kind and with the reason of the last attempt; see `run_attempts`.
    """
    stop = stop or Stop()

    def attempt(config: RunConfig, channel: Channel) -> None:
        before_attempt()
        _fit_once(config, channel, folder=folder, callbacks=callbacks, stop=stop)

    first = apply(config, {"launch.num_workers": workers_at_start(config.launch)})
    if first != config:
        open_run(first, folder)
    run_attempts(first, folder, attempt, stop=stop, room=lambda _: room(config, stop))


def _fit_once(config: RunConfig, channel: Channel, *, folder: RunFolder, callbacks: Sequence[Any], stop: Stop) -> None:
    """One worker group to its end; it waits for its turn where others use the cluster, or an autoscaler makes room."""
    size, heard = config.launch.num_workers, lambda: folder.keeper.is_current
    with Watch(channel, size, config.launch.hang_seconds, stop, is_heard=heard) as watch:
        folder.keeper.publish()
        while True:
            free_abandoned()
            try:
                _trainer(config, folder, channel, callbacks).fit()
                return
            except Exception as error:
                if is_full(error) and runs_at_once(config.launch) > 0 and not stop.requested:
                    continue
                folder.keeper.refresh()
                raise watch.hang or worker_failure(error, failure_of(channel)) from error


def _trainer(config: RunConfig, folder: RunFolder, channel: Channel, callbacks: Sequence[Any]) -> UnwatchedTrainer:
    resources = worker_resources(config.launch)
    return UnwatchedTrainer(
        _worker_main,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "place": absolute(folder.place),
            "directory": str(Path.cwd()),
            "attempt": channel.number,
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
            worker_runtime_env={"env_vars": NO_GPU} if config.launch.gpus_per_worker == 0 else None,
            callbacks=[*callbacks, HeedSigterm(), ManyRanks()],
            failure_config=FailureConfig(  # the attempts are ours
                max_failures=0, max_preemption_failures=0, controller_failure_limit=0
            ),
        ),
    )


def _worker_main(payload: dict[str, Any]) -> None:
    enter(payload["directory"])
    rank, attempt = ray.train.get_context().get_world_rank(), payload["attempt"]
    asked = request_of(attempt)
    view = View(partial(_is_ranks, rank), messages=(asked,), is_followed=False, leave=asked, away_seconds=AWAY_SECONDS)
    with opened(payload["place"], view) as storage:
        code = _rank(RunConfig.model_validate(payload["config"]), storage.run(), rank, attempt)
    if code:
        raise RuntimeError(f"exit code {code}")


def _is_ranks(rank: int, name: str) -> bool:
    """What a rank goes on from at the start; tensors it obtains of the checkpoint that it takes. Curves are the first
    rank's, which goes on with them.
    """
    if name.startswith("logs/"):
        return name == f"logs/{log_name(rank)}" or (rank == 0 and name == f"logs/{SCREEN}")
    return without_tensors(name) and (rank == 0 or not (journals(name) or event_files(name)))


def _rank(config: RunConfig, folder: RunFolder, rank: int, attempt: int) -> int:
    if not folder.config.is_file():  # the launcher wrote it
        raise EnvironmentFailure(f"run.dir: the node {platform.node()} does not see {folder}; {NOT_SHARED}")
    folder.logs.mkdir(parents=True, exist_ok=True)
    if is_remote(folder.place):
        here = ray.train.get_context().get_local_world_size()
        check_copies(config, folder.path, copies=here, writes=rank == 0)
    share = config.launch.gpus_per_worker
    if isinstance(share, float) and 0.0 < share < 1.0:
        torch.cuda.set_per_process_memory_fraction(share)
    with open(folder.logs / SCREEN if rank == 0 else os.devnull, "a") as screen:
        return work(config, RayContext(screen), folder, Channel(folder.logs, attempt))
