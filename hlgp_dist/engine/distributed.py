"""The process group of a run: joined and left by DeepSpeed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from hlgp_dist.engine.import_deepspeed import deepspeed, groups


@contextmanager
def process_group(device: str, timeout_seconds: int) -> Iterator[None]:
    """Inside, this process is in the group; see `init_process_group`.

    A rank that fails among others on GPUs does not leave it: NCCL would have it wait for the others of its host, which
    wait for this one in a collective. Whoever catches what it raises has to end the process.
    """
    try:
        init_process_group(device, timeout_seconds)
        yield
    except BaseException:
        if not _is_waited_for():
            close_process_group()
        raise
    close_process_group()


def _is_waited_for() -> bool:
    return dist.is_initialized() and dist.get_world_size() > 1 and dist.get_backend() == "nccl"


def init_process_group(device: str, timeout_seconds: int) -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe, or the one a launcher has made."""
    backend, timeout = "nccl" if device.startswith("cuda") else "gloo", timedelta(seconds=timeout_seconds)
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False, timeout=timeout)
    groups._WORLD_GROUP = dist.new_group(timeout=timeout)
    # DeepSpeed reduces over a copy of the group, which it would make with torch's own timeout: 10 minutes for NCCL.


def close_process_group() -> None:
    """Leave the group, so that this process may join another: DeepSpeed keeps its own reference to each."""
    if dist.is_initialized():
        deepspeed.comm.destroy_process_group()
    deepspeed.comm.comm.cdb = None
