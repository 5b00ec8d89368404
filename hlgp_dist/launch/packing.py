"""`launch.gpus_per_worker: auto`: as many one-worker runs on a GPU as its memory holds.

Not run on a GPU: where this was written there is none. What is decided is a pure function of two numbers, and tested.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

import torch

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.launch.doctor.fleet import Call
from hlgp_dist.launch.doctor.on_ray import OnRay
from hlgp_dist.launch.room import PARTS
from hlgp_dist.train.estimate.devices import workers_per_gpu
from hlgp_dist.train.estimate.run import estimate_run

ASK_SECONDS = 60.0
log = logging.getLogger(__name__)


def gpu_share(launch: LaunchOptions, runs: Iterable[RunConfig]) -> float | None:
    """What `launch.gpus_per_worker` is on the cluster that this process is connected to; runs: those it has to do for.

    None where there are no GPUs yet, or a run has several workers, which need one each.
    """
    if launch.gpus_per_worker != "auto":
        return launch.gpus_per_worker
    smallest = smallest_gpu() if launch.num_workers == 1 else None
    if smallest is None:
        return None
    needed = max(estimate_run(run).memory.peak for run in runs)
    share = share_of(needed, smallest)
    words = f"a rank needs about {needed / 1e9:.3g} GB, the smallest GPU has {smallest / 1e9:.3g} GB"
    print(f"launch.gpus_per_worker: auto is {share:.3g}: {words}", file=sys.stderr)
    return share


def share_of(rank_bytes: int, gpu_bytes: int) -> float:
    """The part of a GPU for each of as many as fit, in Ray's parts: were a sixth rounded up, five had room."""
    return PARTS // workers_per_gpu(rank_bytes, gpu_bytes) / PARTS


def with_share(config: RunConfig, share: float | None) -> RunConfig:
    """The configuration with that for `launch.gpus_per_worker`."""
    return config.model_copy(update={"launch": config.launch.model_copy(update={"gpus_per_worker": share})})


def smallest_gpu() -> int | None:
    """Bytes, over all nodes that answer; None where none has a GPU."""
    fleet = OnRay()
    replies = fleet.ask([Call(node, gpu_bytes) for node in fleet.nodes], ASK_SECONDS)
    for node, reply in zip(fleet.nodes, replies, strict=True):
        if reply.problem is not None:
            log.warning("%s does not tell its GPUs' memory: %s", node, reply.problem)
    return min((reply.value for reply in replies if reply.value is not None), default=None)


def gpu_bytes() -> int | None:
    """Of this node's smallest one."""
    sizes = [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
    return min(sizes, default=None)
