"""The machines that a plan is for: given on the command line, never asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.errors import ConfigError
from hlgp_dist.train.estimate.devices import workers_per_gpu


@dataclass(frozen=True)
class Cluster:
    """gpus: on all `nodes`, alike on each; gpu_bytes: of one of them, None where no device was named."""

    gpus: int
    nodes: int = 1
    gpu_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.gpus % self.nodes:
            raise ConfigError(f"--gpus {self.gpus}: cannot be alike on --nodes {self.nodes}")

    def at_once(self, workers: int, per_gpu: int, most: int | None) -> int:
        """Runs of so many workers, each worker whole on one node.

        Raises:
            ConfigError: not even one has room.
        """
        fits = self.gpus * per_gpu // workers
        if not fits:
            raise ConfigError(f"--gpus {self.gpus}: a run has launch.num_workers = {workers}")
        return fits if most is None else min(fits, most)


def share_of_gpu(launch: LaunchOptions, rank_bytes: int, gpu_bytes: int | None) -> int:
    """One-worker runs of one GPU, as `launch.gpus_per_worker` says."""
    wanted = launch.gpus_per_worker
    if wanted == "auto":
        return 1 if launch.num_workers > 1 or gpu_bytes is None else workers_per_gpu(rank_bytes, gpu_bytes)
    return math.floor(1.0 / wanted) if wanted else 1
