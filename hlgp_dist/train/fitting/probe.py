"""What a training micro-step and a test take of a rank's memory, measured on a stand-in for the run's learner.

The stand-in shares the trunk. Method and head are those of the run's last task, which holds the most, without a value
that means anything: they go through the tasks on the meta device. So nothing of the run itself moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.augment import augment, to_float
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.transfer import to_device
from hlgp_dist.data.uniforms import Key
from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.train.device_memory import DeviceMemory, is_out_of_memory
from hlgp_dist.train.estimate.costs import bytes_of
from hlgp_dist.train.estimate.memory import bucket_bytes, optimizer_bytes
from hlgp_dist.train.estimate.work import seen_shapes
from hlgp_dist.train.footprint import NoPictures
from hlgp_dist.train.learner import Learner
from hlgp_dist.train.session import Session, setting_of
from hlgp_dist.types import Batch, Regions


class Probe:
    """Of one rank. num_calls: that it has made so far, which whoever waits for it may watch."""

    def __init__(self, session: Session, memory: DeviceMemory) -> None:
        self._config, self._manifest, self._ranks = session.config, session.manifest, session.context.world.size
        self._trunk, self._memory = session.learner.trunk, memory
        self._setting = setting_of(session.config, self._trunk.dimensions, session.manifest)
        self.num_calls = 0

    def training(self) -> Callable[[int], float]:
        """The most bytes held while so many pictures are drawn and take a micro-step of the last task."""
        learner = self._stand_in(is_over=False)
        learner.train()

        def step(count: int) -> None:
            batch = to_device(self._drawn(count), self._trunk.device)
            size, options = self._trunk.input_format.size, self._config.data.augmentation
            key = Key(self._config.seed, 0, 0)
            images = augment(batch.images, batch.samples, size=size, augmentation=options, key=key, memory=Memory())
            learner(images, batch.labels, batch.weights)[0].backward()

        return self._measured(step, learner)

    def testing(self) -> Callable[[int], float]:
        """The most bytes held while so many pictures are tested after the last task."""
        learner = self._stand_in(is_over=True)
        learner.eval()

        @torch.no_grad()
        def test(count: int) -> None:
            learner.predict(to_float(self._whole(count).to(self._trunk.device), Memory()))

        return self._measured(test, learner)

    def _stand_in(self, *, is_over: bool) -> Learner:
        """In the last task, or after it.

        Raises:
            ConfigError: the method looks at values, which there are none of.
        """
        try:
            learner = _at_the_last(self._config, self._setting, is_over=is_over)
        except (NotImplementedError, RuntimeError) as error:
            raise self._refused(error) from error
        for part in (learner.method, learner.head):
            _fill(part, self._trunk.device)
        learner.trunk = self._trunk
        return learner

    def _measured(self, call: Callable[[int], None], learner: Learner) -> Callable[[int], float]:
        """Gradients are counted as they come, and what the optimizer keeps from its first step on is added."""
        trained = bytes_of(parameter for group in learner.trained_parameters().values() for parameter in group)
        later = optimizer_bytes(self._config, trained, self._ranks) + bucket_bytes(self._config, trained)

        def peak(count: int) -> float:
            self._memory.give_back()
            self._memory.forget_peak()
            try:
                with torch.random.fork_rng(devices=[self._trunk.device] * (self._trunk.device.type == "cuda")):
                    call(count)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise self._refused(error) from error
                return math.inf
            finally:
                learner.zero_grad()
                self.num_calls += 1
            return self._memory.peak() + later

        for count in (1, 2):  # what libraries take once and keep; kernels of one picture and of more are compiled apart
            peak(count)
        self._memory.give_back()
        return peak

    def _refused(self, error: Exception) -> ConfigError:
        method, reason = self._config.method.kind, (str(error).splitlines() or [type(error).__name__])[0]
        return ConfigError(
            f"engine.micro_batch_size: auto: method.kind = {method} cannot be tried without its values ({reason}); "
            "give a number, or null"
        )

    def _drawn(self, count: int) -> Batch:
        """As the run's first batches are: parts of its pictures as large as theirs, or whole ones."""
        size, stage = self._trunk.input_format.size, self._setting.tasks[-1]
        images: torch.Tensor | Regions = self._whole(count)
        if self._config.data.augmentation is not None:
            shapes = seen_shapes(self._config, self._manifest, stage, size, count)
            images = Regions(torch.zeros(int(3 * shapes.prod(1).sum()), dtype=torch.uint8), torch.from_numpy(shapes))
        ids = torch.arange(count)
        return Batch(images, torch.full_like(ids, stage.start), ids, torch.full((count,), 1.0 / count))

    def _whole(self, count: int) -> torch.Tensor:
        size = self._trunk.input_format.size.size
        return torch.zeros(count, 3, size, size, dtype=torch.uint8)


@torch.no_grad()
def _at_the_last(config: RunConfig, setting: Setting, *, is_over: bool) -> Learner:
    """Without a number, on the meta device."""
    trunk = meta_trunk(config.backbone, precision=config.engine.precision, trained=config.method.trains_trunk)
    with torch.device("meta"):
        learner = Learner(trunk, build_method(config.method, setting))
        for stage in setting.tasks:
            learner.begin_task(stage)
            if is_over or stage != setting.tasks[-1]:
                learner.method.end_task(trunk, NoPictures(len(stage.classes)))
    return learner


@torch.no_grad()
def _fill(part: nn.Module, device: torch.device) -> None:
    """Its numbers on the device: zeros, and ones on the diagonals of squares, which may have to be inverted."""
    part.to_empty(device=device)
    for tensor in (*part.parameters(), *part.buffers()):
        tensor.zero_()
        if tensor.dim() > 1 and tensor.shape[-1] == tensor.shape[-2]:
            tensor.diagonal(dim1=-2, dim2=-1).fill_(1)
