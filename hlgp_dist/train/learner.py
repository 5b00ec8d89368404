"""Trunk, method and head as the one module that an engine wraps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.methods.base import Method
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Learner(nn.Module):
    """Calling it gives the loss of one rank's share of a micro-step."""

    def __init__(self, trunk: Trunk, method: Method) -> None:
        super().__init__()
        self.trunk = trunk
        self.method = method
        self.head = Head(trunk.dimensions.feature_width).to(trunk.mean.device)
        self.task: TaskSpec | None = None

    def begin_task(self, task: TaskSpec) -> None:
        """Make new rows in the head and what the method trains."""
        self.task = task
        self.head.begin_task(len(task.classes))
        self.method.begin_task(task)

    def trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        """What this task trains, by the learning rate it follows."""
        return {"prompt": list(self.method.parameters()), "head": list(self.head.parameters())}

    def forward(self, images: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted cross-entropy over the classes of the current task alone, [], and how many were right, [].

        images: float [B, 3, R, R] in 0..1; labels: int64 [B] in stream order; weights: [B].
        """
        assert self.task is not None, "begin_task comes first"
        logits = self.method(self.trunk, self.head, images, self.task).logits[:, self.task.start :]
        targets = labels - self.task.start
        losses = functional.cross_entropy(logits, targets, reduction="none")
        right = (logits.argmax(1) == targets) & (weights > 0)
        return (losses * weights).sum(), right.sum()

    @torch.no_grad()
    def num_trained_parameters(self) -> tuple[int, int]:
        """(prompts, head rows) of the current task."""
        return sum(p.numel() for p in self.method.parameters()), sum(p.numel() for p in self.head.parameters())
