"""A learner in a task of a stream, stepping on random pictures by what a run itself calls.

B pictures, R pixels of a side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore, Store, TCPStore

from hlgp_dist.bench.stepping.options import StepOptions, Yardstick
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.transfer import to_device
from hlgp_dist.engine.deepspeed import DeepSpeedEngine
from hlgp_dist.engine.distributed import process_group
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.ports import LOOPBACK
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import Batch, TaskSpec

RATES = {"prompt": 1e-3, "head": 1e-3}


class Given(NamedTuple):
    """To a step, on the device: pictures as floats [B, 3, R, R], labels and weights [B]."""

    images: Tensor
    labels: Tensor
    weights: Tensor


class Stepper:
    """Training steps and evaluations of one batch, in a task that `begin` has begun."""

    def __init__(self, options: StepOptions, yardstick: Yardstick | None = None) -> None:
        """yardstick: the same work its way, in place of the configuration's."""
        config = options.config
        precision = {None: config.engine.precision, "plain": "fp32", "bf16": "bf16"}[yardstick]
        self._options, self._config, self._memory = options, config, Memory()
        trained = config.method.trains_trunk
        trunk, _ = build_trunk(
            config.backbone, precision=precision, seed=config.seed, device=options.device, trained=trained
        )
        trunk.recompute_blocks(config.engine.checkpoint_blocks == "all")
        if yardstick == "plain":
            trunk.cuts_last_block = False
        if config.engine.compile and yardstick is None:
            trunk.compile_blocks()
        setting = Setting(trunk.dimensions, options.tasks, config.seed)
        self.learner = Learner(trunk, build_method(config.method, setting).to(options.device))
        self._batch = _random_batch(options.batch_size, trunk.input_format.size.size, options.device)
        self.engine: DeepSpeedEngine | None = None

    def begin(self, task: TaskSpec) -> None:
        """Go on to it; the tasks before it, as far as they are not over, end without a step."""
        for each in self._options.tasks[self._next : task.index + 1]:
            if each.index > 0:
                self.end()
            self.learner.begin_task(each)
        self._batch.labels.copy_(task.start + torch.arange(len(self._batch.labels)) % len(task.classes))
        self.engine = self._engine() if self.learner.method.has_gradients else None

    @property
    def _next(self) -> int:
        return 0 if self.learner.task is None else self.learner.task.index + 1

    def end(self) -> None:
        """What follows the last step of the task that was begun."""
        assert self.learner.task is not None, "begin comes first"
        self.close()
        self.learner.eval()
        self.learner.method.end_task(self.learner.trunk, _OneBatch(self.learner.task, self))

    def _engine(self) -> DeepSpeedEngine:
        config, learner = self._config, self.learner
        parameters, kept = learner.trained_parameters(), learner.method.parameters()
        return DeepSpeedEngine(
            learner, parameters, kept=kept, optimizer=config.optimizer, options=config.engine, accumulation=1
        )

    def given(self) -> Given:
        """The batch, sent anew."""
        images, labels, _, weights = to_device(self._batch, self._options.device)
        assert isinstance(images, Tensor)
        return Given(to_float(images, self._memory), labels, weights)

    def train_step(self) -> None:
        """The whole of one, an optimizer's update included."""
        assert self.engine is not None
        self.learner.train()
        loss, _ = self.engine(*self.given())
        self.engine.backward(loss)
        self.engine.step(RATES)

    def compute(self) -> None:
        """A step's forward and backward pass, without a word to other ranks."""
        self.backward()
        self.learner.zero_grad()

    def backward(self) -> None:
        """Its gradients, which stay."""
        self.loss(self.given()).backward()

    def loss(self, given: Given) -> Tensor:
        """Of what it is given."""
        self.learner.train()
        loss: Tensor = self.learner(*given)[0]
        return loss

    @torch.no_grad()
    def evaluate(self) -> None:
        """One batch's logits."""
        self.learner.eval()
        self.learner.predict(self.given().images)

    def reduce(self) -> None:
        """The sum over ranks of all that is trained."""
        groups = self.learner.trained_parameters().values()
        dist.all_reduce(torch.cat([parameter.detach().flatten() for group in groups for parameter in group]))

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
        self.engine = None


class _OneBatch:
    """A feature stream: the one batch, whatever the task."""

    def __init__(self, task: TaskSpec, stepper: Stepper) -> None:
        self._task, self._stepper = task, stepper

    @torch.no_grad()
    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """See FeatureStream. Each class takes of the pictures in turn."""
        seen = features(self._stepper.given().images)
        count = len(self._task.classes)
        which = torch.arange(max(count, len(seen)))
        batch = (seen[which.to(seen.device) % len(seen)], which % count)
        return class_statistics([batch], count, width, spread, lambda tensor: tensor, seen.device)


def _random_batch(count: int, size: int, device: str) -> Batch:
    """Where a run's loading has them for that device."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=random, dtype=torch.uint8)
    parts = (images, torch.zeros(count, dtype=torch.long), torch.full((count,), 1.0 / count))
    images, labels, weights = (part.pin_memory() if device.startswith("cuda") else part for part in parts)
    return Batch(images, labels, torch.arange(count), weights)


@contextmanager
def joined(device: str, rank: int = 0, size: int = 1, port: int | None = None) -> Iterator[None]:
    """Inside, this process is a rank of a run: the only one, or one of those that meet at a port of this machine."""
    before = dict(os.environ)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}  # DeepSpeed reads them
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, store=_store(rank, size, port), rank=rank, world_size=size)
    try:
        with process_group(device, timeout_seconds=600):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _store(rank: int, size: int, port: int | None) -> Store:
    if port is None:
        return HashStore()
    return TCPStore(LOOPBACK, port, size, is_master=rank == 0)
