"""What loading costs a real training step: HLGP on a ViT, fed as a run feeds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, count, pairwise
from statistics import median

import torch
from torch import Tensor

from hlgp_dist.bench.ours import Feed, on_device
from hlgp_dist.bench.timing import wait_for
from hlgp_dist.bench.workload import Workload
from hlgp_dist.config.hlgp_options import Hlgp
from hlgp_dist.config.schema import Backbone
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec

WARM_UP = 3
PARTS = ("wait", "augment", "compute")
PRECISION = {"cpu": "fp32", "cuda": "bf16"}


def training_step(backbone: Backbone, work: Workload, pictures: Pictures, steps: int) -> dict[str, object]:
    """Median milliseconds of a step's parts over `steps`, and each part's percent of all of them.

    `wait`: for a batch, also the first of an epoch; `augment`: its way to the device, crop and flip; `compute`:
    forward, backward, update. They follow one another, where a run's host goes ahead of a GPU. On a CPU the thread that
    makes the next batch has the cores of the step.
    """
    step = _learning(backbone, work, len(set(pictures.labels.tolist())))
    rows = []
    feed = Feed(work, pictures)
    batches = chain.from_iterable(((epoch, batch) for batch in feed.training(epoch)) for epoch in count())
    for _ in range(WARM_UP + steps):
        times = [time.perf_counter()]
        epoch, batch = next(batches)
        times.append(time.perf_counter())
        images = on_device(work, batch, epoch)
        wait_for(work.device)
        times.append(time.perf_counter())
        step(images, batch.labels.to(work.device), batch.weights.to(work.device)).item()
        times.append(time.perf_counter())
        rows.append([after - before for before, after in pairwise(times)])
    return _summary(rows[WARM_UP:]) | {"backbone": backbone.name, "batch_size": work.batch_size, "steps": steps}


def _learning(backbone: Backbone, work: Workload, classes: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A step of the first task: prompts and head are trained, the trunk is frozen."""
    precision = PRECISION[torch.device(work.device).type]
    trunk, _ = build_trunk(backbone, precision=precision, seed=0, device=work.device)
    task = TaskSpec(0, 0, tuple(f"class {index}" for index in range(classes)))
    learner = Learner(trunk, build_method(Hlgp(), Setting(trunk.dimensions, (task,), 0)).to(work.device))
    learner.begin_task(task)
    learner.train()
    trained = [parameter for group in learner.trained_parameters().values() for parameter in group]
    optimizer = torch.optim.Adam(trained, lr=1e-3)

    def step(images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = learner(images, labels, weights)[0]
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _summary(rows: list[list[float]]) -> dict[str, object]:
    sums, whole = [sum(column) for column in zip(*rows, strict=True)], sum(map(sum, rows))
    return {
        "ms": {part: 1e3 * median(column) for part, column in zip(PARTS, zip(*rows, strict=True), strict=True)},
        "percent": {part: 100.0 * seconds / whole for part, seconds in zip(PARTS, sums, strict=True)},
    }
