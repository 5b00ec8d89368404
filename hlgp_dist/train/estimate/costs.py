"""What a task costs a device: its step, its end and its test, each gone through once on the meta device.

The code that runs is the run's own, so every method, plug-ins too, is counted as it is. B pictures, R pixels of a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hlgp_dist.config.schema import GaussianAlignment, RunConfig
from hlgp_dist.data.augment import augment
from hlgp_dist.data.uniforms import Key
from hlgp_dist.errors import ConfigError, Failure
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.train.alignment import ClassMemory
from hlgp_dist.train.estimate.kernels import Device, computing_as
from hlgp_dist.train.estimate.trace import Phase, Trace
from hlgp_dist.train.footprint import NoPictures
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import PictureSize, Regions, TaskSpec

Shapes = np.ndarray
"""int64 [B, 2]: height and width of what a step sees of each picture."""


@dataclass(frozen=True)
class Cost:
    """Of one call for `pictures` of them.

    flops: of all of them by phase; saved: bytes alive behind the forward pass, which the backward pass needs; peak:
    the most bytes alive at once, `saved` and gradients included, parameters and pictures not; passes: through the
    trunk; kernels: operations that a host has to launch one by one.
    """

    pictures: int = 0
    flops: dict[Phase, int] = field(default_factory=dict)
    saved: int = 0
    peak: int = 0
    passes: int = 0
    kernels: int = 0

    def per_picture(self, *phases: Phase) -> float:
        """FLOPs of these phases, or of all."""
        chosen = phases or tuple(self.flops)
        return sum(self.flops.get(phase, 0) for phase in chosen) / max(self.pictures, 1)


@dataclass(frozen=True)
class TaskCost:
    """Of a stage: drawing a batch, a micro-step, what its end computes of its pictures, and a test after it.

    alignment: of one epoch's features, drawn; what its head is trained by is not in it.

    trained, memory: bytes of what it trains (head included), and of what the method and the head keep beside that.
    """

    task: int
    drawing: Cost
    step: Cost
    end: Cost
    alignment: Cost
    test: Cost
    oracle: Cost
    trained: int
    memory: int


def task_costs(config: RunConfig, setting: Setting, shares: tuple[Shapes, int], device: Device) -> list[TaskCost]:
    """Of the first, the second and the last stage: between the latter two what there is grows by a task at a time.

    shares: what a micro-step sees, and how many pictures an evaluation's batch has.

    Raises:
        ConfigError: the method computes with values, which there are none of.
    """
    try:
        return list(_gone_through(config, setting, *shares, device))
    except Failure:
        raise
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"method.kind = {config.method.kind}: cannot be planned, it looks at values of its tensors ({reason})"
        ) from error


def _gone_through(
    config: RunConfig, setting: Setting, shapes: Shapes, tested: int, device: Device
) -> Iterator[TaskCost]:
    trunk = meta_trunk(config.backbone, precision=config.engine.precision, trained=config.method.trains_trunk)
    trunk.recompute_blocks(config.engine.checkpoint_blocks == "all")
    with torch.device("meta"):
        learner = Learner(trunk, build_method(config.method, setting))
        last = setting.tasks[-1].index
        rehearsal = _Rehearsal(config, learner, shapes, _pictures(tested, trunk.input_format.size), device, last)
        for stage in setting.tasks:
            with torch.no_grad():
                learner.begin_task(stage)
            if stage.index in (0, 1, last):
                yield rehearsal.cost(stage)
            else:
                learner.method.end_task(trunk, NoPictures(len(stage.classes)))


@dataclass(frozen=True)
class _Rehearsal:
    """Goes through a stage's calls, in a run's order. tested: a batch without gradients; last: of all stages."""

    config: RunConfig
    learner: Learner
    shapes: Shapes
    tested: Tensor
    device: Device
    last: int

    def cost(self, stage: TaskSpec) -> TaskCost:
        learner, method = self.learner, self.learner.method
        trained = bytes_of(parameter for group in learner.trained_parameters().values() for parameter in group)
        step, drawing = (self._step(stage), self._drawing()) if method.has_gradients else (Cost(), Cost())
        learner.eval()
        end = self._end(stage)
        test = self._counted(lambda: learner.predict(self.tested), len(self.tested))
        parts = (method.parameters(), method.buffers(), learner.head.parameters(), learner.head.buffers())
        own = trained if not learner.trunk.is_trained else trained - bytes_of(learner.trunk.parameters())
        memory = sum(map(bytes_of, parts)) - own
        return TaskCost(
            stage.index, drawing, step, end, self._alignment(stage), test, self._oracle(stage), trained, memory
        )

    def _drawing(self) -> Cost:
        """Regions to floats, as an accelerator does it; a CPU goes picture by picture, in buffers."""
        options = self.config.data.augmentation
        if options is None or self.device == "cpu":
            return Cost()
        pixels = torch.empty(int(3 * self.shapes.prod(1).sum()), dtype=torch.uint8)
        with torch.device("cpu"):
            ids, regions = torch.arange(len(self.shapes)), Regions(pixels, torch.from_numpy(self.shapes))
        return self._counted(
            lambda: augment(
                regions, ids, size=self.learner.trunk.input_format.size, augmentation=options, key=Key(0, 0, 0)
            ),
            len(ids),
        )

    def _step(self, stage: TaskSpec) -> Cost:
        learner, images = self.learner, _pictures(len(self.shapes), self.learner.trunk.input_format.size)
        labels = torch.full((len(images),), stage.start)
        learner.train()
        with computing_as(self.device, learner.trunk), Trace() as trace:
            loss, _ = learner(images, labels, torch.ones(len(images)))
            saved, trace.is_backward = trace.live, True
            loss.backward()
            cost = Cost(len(images), dict(trace.flops), saved, trace.peak, learner.passes["training"], trace.kernels)
        learner.zero_grad()
        return cost

    def _end(self, stage: TaskSpec) -> Cost:
        """Class statistics: the method's own, and alignment's."""
        stream = _Stream(stage, self.tested)
        alignment, width = self.config.alignment, self.learner.trunk.dimensions.feature_width

        def end() -> None:
            self.learner.method.end_task(self.learner.trunk, stream)
            if isinstance(alignment, GaussianAlignment):
                stream.statistics(self.learner.features, width, alignment.kind)

        return self._counted(end, len(self.tested))

    def _alignment(self, stage: TaskSpec) -> Cost:
        options, width = self.config.alignment, self.learner.trunk.dimensions.feature_width
        if not isinstance(options, GaussianAlignment) or stage.index == 0:
            return Cost()
        memory = ClassMemory(width, options.kind)
        memory.add(NoPictures(stage.stop).statistics(self.learner.trunk, width, options.kind))
        random = generator(0, stage.index, Purpose.ALIGNMENT)
        return self._counted(lambda: memory.sampler(random, torch.device("meta")).draw(options.samples_per_class), 1)

    def _oracle(self, stage: TaskSpec) -> Cost:
        """The last test's second prediction, where a method can be told the task."""
        method = self.learner.method
        if stage.index < self.last or not method.takes_task_weights or self.config.train.stream == "joint":
            return Cost()
        known = method.known_task(stage.index, stage.index + 1, torch.device("meta"))
        return self._counted(lambda: self.learner.predict(self.tested, known), len(self.tested))

    def _counted(self, call: Callable[[], object], pictures: int) -> Cost:
        """Without gradients."""
        trunk = self.learner.trunk
        before = trunk.num_seen
        with torch.no_grad(), computing_as(self.device, trunk), Trace() as trace:
            kept = call()
            passes = (trunk.num_seen - before) // pictures
            cost = Cost(pictures, dict(trace.flops), 0, trace.peak, passes, trace.kernels)
        del kept
        return cost


class _Stream:
    """A feature stream of one batch, all of one class: pictures come class by class."""

    def __init__(self, task: TaskSpec, images: Tensor) -> None:
        self._classes, self._images = len(task.classes), images

    @torch.no_grad()
    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """See FeatureStream."""
        batch = features(self._images), torch.zeros(len(self._images), dtype=torch.int64, device="cpu")
        return class_statistics([batch], self._classes, width, spread, lambda tensor: tensor, "meta")


def _pictures(count: int, size: PictureSize) -> Tensor:
    """Floats [B, 3, R, R]."""
    return torch.empty(count, 3, size.size, size.size)


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of their numbers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
