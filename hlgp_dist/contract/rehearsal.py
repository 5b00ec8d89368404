"""A method taken through tasks as a run takes it, on random pictures and in plain torch: no shards, ranks or engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hlgp_dist.config import method_options
from hlgp_dist.config.schema import Backbone
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train.checkpoint import prefixed, restore_module, without_prefix
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec

TINY = Backbone(
    name="vit_tiny_patch16_224",
    weights="none",
    img_size=32,
    kwargs={"patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2},
)
"""Six blocks of width 32 at 32 px, random."""
TASKS = (TaskSpec(0, 0, ("a", "b", "c")), TaskSpec(1, 3, ("d", "e")), TaskSpec(2, 5, ("f",)))
"""Unequal, and the last one has nothing to tell apart."""
STEPS, RATE = 4, 0.05
"""A new head's first step moves no prompt."""
NOISE = 0.3
"""Of a tensor's own size, or of one where it is zero."""


@torch.no_grad()
def tiny_trunk(*, trained: bool = False) -> Trunk:
    """TINY far from its initialisation: no bias is zero, no norm is the identity, pictures differ."""
    trunk, random = build_trunk(TINY, precision="fp32", seed=0, trained=trained)[0], torch.Generator().manual_seed(2)
    for parameter in trunk.vit.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    return trunk


def random_pictures(count: int, *, seed: int = 9) -> Tensor:
    """[B, 3, R, R] of TINY's size."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


class Pictures:
    """A feature stream of random pictures of the task, four a class; their labels stay on the host."""

    def __init__(self, task: TaskSpec, device: torch.device | str = "cpu") -> None:
        self.labels = torch.arange(len(task.classes)).repeat(4)
        self.images = random_pictures(len(self.labels), seed=task.index).to(device)

    @torch.no_grad()
    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """See FeatureStream."""
        batch, num_classes = (features(self.images), self.labels), int(self.labels.max()) + 1
        return class_statistics([batch], num_classes, width, spread, lambda tensor: tensor, self.images.device)


class Batch(NamedTuple):
    """What a learner takes: float images [B, 3, R, R], labels int64 [B] in stream order, weights [B]."""

    images: Tensor
    labels: Tensor
    weights: Tensor


class Rehearsal:
    """Calls what a run calls, in its order."""

    def __init__(
        self, trunk: Trunk, tasks: Sequence[TaskSpec], options: method_options.Method, *, seed: int = 0
    ) -> None:
        self.trunk, self.tasks, self.options = trunk, tuple(tasks), options
        method = build_method(options, Setting(trunk.dimensions, self.tasks, seed)).to(trunk.device)
        self.learner = Learner(trunk, method)
        self.method: Method = self.learner.method
        self.head: Head = self.learner.head
        self.task = self.tasks[0]

    @classmethod
    def of(cls, options: method_options.Method) -> Rehearsal:
        """A fresh method on a small random trunk, before three tasks."""
        return cls(tiny_trunk(trained=options.trains_trunk), TASKS, options)

    def begin(self, task: TaskSpec) -> None:
        """What precedes a task's first step."""
        self.task = task
        self.learner.begin_task(task)
        self.learner.train()

    def train(self) -> None:
        """A few steps, each on all pictures of the task."""
        optimizer = torch.optim.Adam(self.trained().values(), lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            self.backward()
            optimizer.step()
        optimizer.zero_grad()

    def backward(self) -> None:
        """One step's gradients."""
        self.learner(*self.batch())[0].backward()

    @torch.no_grad()
    def scatter(self) -> None:
        """Noise in place of training: a place that steps of some run might lead to."""
        random = torch.Generator().manual_seed(self.task.index)
        for parameter in self.trained().values():
            size = parameter.square().mean().sqrt() if parameter.any() else 1.0
            parameter.add_(NOISE * size * torch.randn(parameter.shape, generator=random))

    def end(self) -> None:
        """What follows a task's last step."""
        self.learner.eval()
        self.method.end_task(self.trunk, Pictures(self.task, self.trunk.device))

    def learn(self, task: TaskSpec) -> None:
        """A whole task."""
        self.begin(task)
        if self.method.has_gradients:
            self.train()
        self.end()

    def trained(self) -> dict[str, nn.Parameter]:
        """What the task trains, by name."""
        ids = {id(parameter) for group in self.learner.trained_parameters().values() for parameter in group}
        return {name: tensor for name, tensor in self.learner.named_parameters() if id(tensor) in ids}

    def batch(self) -> Batch:
        """All pictures of the current task; the loss is their mean."""
        device = self.trunk.device
        pictures = Pictures(self.task, device)
        count, labels = len(pictures.labels), pictures.labels + self.task.start
        return Batch(pictures.images, labels.to(device), torch.full((count,), 1.0 / count, device=device))

    def output(self, images: Tensor, weights: Tensor | None = None) -> Output:
        """The method's answer after (or while training) the current task."""
        return self.learner.predict(images, weights)

    def state(self) -> dict[str, Tensor]:
        """Copies of what a checkpoint holds."""
        parts = [prefixed(name, part.state_dict()) for name, part in self.learner.saved().items()]
        return {name: tensor for part in parts for name, tensor in part.items()}

    def resume(self, other: Rehearsal) -> None:
        """Stand where the other stands, by no more than its checkpoint."""
        state = other.state()
        for name, part in self.learner.saved().items():
            restore_module(part, without_prefix(name, state))
        self.task = other.task
        self.learner.continue_task(other.task)
        self.learner.train(other.learner.training)
