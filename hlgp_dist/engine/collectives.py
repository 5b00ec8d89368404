"""The few collectives that training needs, over the run's process group."""

from __future__ import annotations

from collections.abc import Iterable

import torch.distributed as dist
from torch import Tensor


def reduce_sum(tensor: Tensor) -> Tensor:
    """The sum over ranks, made on the device that the group's backend wants; use what is returned."""
    if dist.get_world_size() == 1:
        return tensor
    moved = tensor.to("cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(moved)
    return moved.to(tensor.device)


def reduce_min(tensor: Tensor) -> Tensor:
    """The least over ranks; see `reduce_sum`."""
    if dist.get_world_size() == 1:
        return tensor
    moved = tensor.to("cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(moved, dist.ReduceOp.MIN)
    return moved.to(tensor.device)


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Give every rank the first rank's values, in place."""
    if dist.get_world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather_text(text: str) -> list[str]:
    """What each rank gave, by rank."""
    texts = [text] * dist.get_world_size()
    if len(texts) > 1:
        dist.all_gather_object(texts, text)
    return texts


def barrier() -> None:
    """Wait for all ranks."""
    if dist.get_world_size() > 1:
        dist.barrier()
