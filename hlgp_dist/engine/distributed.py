"""The process group of a run: joined and left by DeepSpeed."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed

deepspeed.ops.__compatible_ops__ = {}
# None of DeepSpeed's own kernels is used. Else each rank would compile a program to find out which of them it could,
# and on the CPU a shared-memory collective, which needs ninja and a compiler; plain gloo does not.


def init_process_group(device: str, timeout_seconds: int) -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe, or the one a launcher has made."""
    backend = "nccl" if device.startswith("cuda") else "gloo"
    deepspeed.init_distributed(
        dist_backend=backend, auto_mpi_discovery=False, verbose=False, timeout=timedelta(seconds=timeout_seconds)
    )


def close_process_group() -> None:
    """Leave the group, so that this process may join another: DeepSpeed keeps its own reference to each."""
    if dist.is_initialized():
        deepspeed.comm.destroy_process_group()
    deepspeed.comm.comm.cdb = None
