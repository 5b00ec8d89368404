"""A report of more ranks than a Ray actor has calls by default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ray
import ray.train
from ray.train.v2._internal.execution.context import get_train_context

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.launch.abandoned import UnwatchedTrainer
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.ray_run import _trainer
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job

RANKS = 1_024


def meeting() -> Callable[[], None]:
    """For one worker, which stands for all: what a report asks Ray Train's actor, by each rank."""

    def meet() -> None:
        actor = get_train_context().get_synchronization_actor()
        told = [actor.broadcast_from_rank_zero.remote(rank, RANKS, "first", "report") for rank in range(RANKS)]
        assert ray.get(told, timeout=120) == ["first"] * RANKS

    return meet  # inside of a function Ray sends its code: workers do not have this module


def test_a_thousand_ranks_and_more_meet(drawn: Path, tmp_path: Path) -> None:
    """With what the trainer of a run calls back."""
    config, folder = job(drawn, tmp_path / "run"), RunFolder(tmp_path / "run")
    with ray_cluster(LaunchOptions()):
        called_back = _trainer(config, folder, Channel(folder.logs, 1), ()).run_config.callbacks
        run = ray.train.RunConfig(name="ray", storage_path=str(tmp_path), callbacks=called_back)
        scaling = ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
        UnwatchedTrainer(meeting(), scaling_config=scaling, run_config=run).fit()
