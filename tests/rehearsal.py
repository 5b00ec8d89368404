"""A method and a head taken through tasks without an engine, with random updates in the place of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hlgp_dist.config import method_options
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Pictures:
    """A feature stream of random pictures of the task, four a class."""

    def __init__(self, task: TaskSpec, size: int = 32) -> None:
        classes = len(task.classes)
        self.labels = torch.arange(classes).repeat(4)
        self.images = torch.rand(4 * classes, 3, size, size, generator=torch.Generator().manual_seed(task.index))

    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        batch = (features(self.images), self.labels)
        return class_statistics([batch], int(self.labels.max()) + 1, width, spread, lambda tensor: tensor)


class Rehearsal:
    """Calls what a run calls, in its order."""

    def __init__(self, trunk: Trunk, tasks: Sequence[TaskSpec], options: method_options.Method) -> None:
        self.trunk, self.tasks = trunk, tuple(tasks)
        self.method: Method = build_method(options, Setting(trunk.dimensions, self.tasks, seed=0))
        self.head = Head(trunk.dimensions.feature_width)
        self.random = torch.Generator().manual_seed(5)

    def begin(self, task: TaskSpec) -> None:
        self.method.begin_task(task)
        self.head.begin_task(len(task.classes))
        self.method.train()

    @torch.no_grad()
    def disturb(self, scale: float = 0.3) -> None:
        for parameter in [*self.method.parameters(), *self.head.parameters()]:
            parameter.add_(scale * torch.randn(parameter.shape, generator=self.random))

    def end(self, task: TaskSpec) -> None:
        self.method.eval()
        with torch.no_grad():
            self.method.end_task(self.trunk, Pictures(task))

    def learn(self, task: TaskSpec) -> None:
        self.begin(task)
        self.disturb()
        self.end(task)

    def output(self, images: Tensor, task: TaskSpec, weights: Tensor | None = None) -> Output:
        output: Output = self.method(self.trunk, self.head, images, task, weights)
        return output
