"""Task matching: how much each task's prompts count for a picture (SoTM of METHOD). B batch, C classes, T tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hlgp_dist.types import TaskSpec


def posterior_weights(logits: Tensor, tasks: Sequence[TaskSpec], temperature: float) -> Tensor:
    """w_i = sum over the classes of task i of softmax(logits / temperature): [B, T] from seen classes' [B, C].

    Rows are non-negative and sum to one. The sum (not the mean) over a task's classes keeps unequal tasks right.
    """
    posterior = torch.softmax(logits.float() / temperature, 1)
    return torch.stack([posterior[:, task.start : task.stop].sum(1) for task in tasks], 1)


def nearest_weights(similarities: Tensor, tasks: Sequence[TaskSpec], temperature: float) -> Tensor:
    """w = softmax over tasks of (largest similarity [B, C] to a class of the task / temperature): [B, T]."""
    nearest = torch.stack([similarities[:, task.start : task.stop].amax(1) for task in tasks], 1)
    return torch.softmax(nearest.float() / temperature, 1)


def one_hot_weights(task_index: int, num_tasks: int, device: torch.device | str) -> Tensor:
    """[1, T]: the prompts of one task alone."""
    weights = torch.zeros(1, num_tasks, device=device)
    weights[0, task_index].fill_(1.0)  # a number that is assigned would be sent to the device first
    return weights


def ema_weights(decay: float, num_tasks: int, device: torch.device | str) -> Tensor:
    """[1, T]: M_t = decay M_(t-1) + (1 - decay) P_t from M_1 = P_1, written as weights of P_1 .. P_T."""
    ages = torch.arange(num_tasks - 1, -1, -1, device=device)
    weights = (1.0 - decay) * decay**ages
    weights[0] = decay ** (num_tasks - 1)
    return weights[None]
