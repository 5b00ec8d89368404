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


def one_hot_weights(task_index: int, num_tasks: int, device: torch.device | str) -> Tensor:
    """[1, T]: the prompts of one task alone."""
    weights = torch.zeros(1, num_tasks, device=device)
    weights[0, task_index] = 1.0
    return weights
