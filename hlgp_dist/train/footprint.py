"""How large a run's checkpoints get, and whether the disk holds them: known before it starts.

Method, head and class memory go through all tasks without a number in them, on the meta device.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hlgp_dist.config.schema import CheckpointOptions, GaussianAlignment, RunConfig
from hlgp_dist.data.selection import selected
from hlgp_dist.engine.options import state_keys
from hlgp_dist.errors import EnvironmentFailure, counted
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.train.alignment import ClassMemory
from hlgp_dist.train.learner import Learner
from hlgp_dist.train.plan import TaskPlan
from hlgp_dist.train.session import setting_of
from hlgp_dist.train.supply import manifest_of

log = logging.getLogger("hlgp_dist")
MB, GB = 10**6, 10**9


class Footprint(NamedTuple):
    """Bytes of checkpoints: the largest one, how many stay at most, and all that stay."""

    largest: int
    number: int
    kept: int

    def words(self) -> str:
        """Without the disk."""
        return f"about {self.largest / MB:.3g} MB each, at most {self.number} kept, {self.kept / MB:.3g} MB"


class Sizes(NamedTuple):
    """Of one stage's checkpoints: how many inside of it, the bytes of one of them, and of the one at its end."""

    number: int
    inside: int
    end: int

    @property
    def written(self) -> list[int]:
        """Bytes of each."""
        return [self.inside] * self.number + [self.end]


class NoPictures:
    """A feature stream that knows the number of classes alone."""

    def __init__(self, classes: int) -> None:
        self._classes = classes

    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """See FeatureStream."""
        classes = self._classes
        shape = {"none": (0,), "diagonal": (classes, width), "full": (classes, width, width)}
        counts, means = torch.zeros(classes, dtype=torch.int64), torch.zeros(classes, width)
        return ClassStatistics(counts, means, torch.zeros(shape.get(spread, (width, width))))


def check_room(config: RunConfig, folder: Path) -> None:
    """Say what the checkpoints in `folder` come to, on the terminal where progress is shown.

    Raises:
        EnvironmentFailure: the disk cannot hold them.
    """
    footprint = footprint_of(config)
    disk = next(path for path in [folder, *folder.parents] if path.exists())
    free = shutil.disk_usage(disk).free
    words = f"checkpoints: {footprint.words()}; {free / GB:.3g} GB free in {disk}"
    _tell(config, words)
    there = sum(file.stat().st_size for file in folder.glob("task-*/*"))
    if footprint.kept + footprint.largest > free + there:  # one more while it is written
        raise EnvironmentFailure(f"{words}; lower checkpoint.keep, or take a run.dir with more room")


def tell_size(config: RunConfig) -> None:
    """Likewise, where each rank has a copy of its own, on a node that is not known yet; see `check_copies`."""
    _tell(config, f"checkpoints: {footprint_of(config).words()}")


def check_copies(config: RunConfig, folder: Path, *, copies: int, writes: bool) -> None:
    """Whether this node has room for the checkpoints of its ranks: `copies` have the one that they go on from, and who
    `writes` all that are kept, and one more.

    Raises:
        EnvironmentFailure: it has not.
    """
    footprint, free = footprint_of(config), shutil.disk_usage(folder).free
    needed = copies * footprint.largest + (footprint.kept if writes else 0)
    if needed > free:
        raise EnvironmentFailure(
            f"TMPDIR: checkpoints of {counted(copies, 'rank')} on {platform.node()} take {needed / MB:.3g} MB "
            f"({footprint.words()}); {free / MB:.3g} MB are free in {folder}; lower checkpoint.keep"
        )


def _tell(config: RunConfig, words: str) -> None:
    log.info("%s", words)
    if config.telemetry.progress:
        print(words, file=sys.stderr)


def footprint_of(config: RunConfig) -> Footprint:
    """Of the run that the configuration describes."""
    return summed(config.checkpoint, stage_sizes(config))


def summed(options: CheckpointOptions, stages: Sequence[Sizes]) -> Footprint:
    """What stays of all the checkpoints that are written; the largest ones, as if they were the newest."""
    written, ends = [size for stage in stages for size in stage.written], [stage.end for stage in stages]
    inside = [stage.inside for stage in stages for _ in range(stage.number)]
    if options.keep_task_ends:
        kept = ends + sorted(inside)[-options.keep :]
    else:
        kept = sorted(written)[-options.keep :]
        if options.keep_best and len(kept) < len(written):
            kept.append(max(ends))
    return Footprint(max(written), len(kept), sum(kept))


def stage_sizes(config: RunConfig) -> list[Sizes]:
    """Of every stage, in order."""
    try:
        with torch.device("meta"):
            return list(_stages(config))
    except (NotImplementedError, RuntimeError):  # a method that computes with what it makes
        return list(_stages(config))


@torch.no_grad()
def _stages(config: RunConfig) -> Iterator[Sizes]:
    trunk = meta_trunk(config.backbone)
    trunk.is_trained = config.method.trains_trunk
    manifest, width = manifest_of(config), trunk.dimensions.feature_width
    setting = setting_of(config, trunk.dimensions, manifest)
    learner = Learner(trunk, build_method(config.method, setting))
    memory = None
    if isinstance(config.alignment, GaussianAlignment):
        memory = ClassMemory(width, config.alignment.kind).to("meta")
    for stage in setting.tasks:
        learner.begin_task(stage)
        pictures = len(selected(config, manifest, stage, "train"))
        number = _saved_inside(config, pictures) if learner.method.has_gradients else 0
        inside = file_bytes(_tensors(learner, memory) | _moments(config, learner)) if number else 0
        stream = NoPictures(len(stage.classes))
        learner.method.end_task(trunk, stream)
        if memory is not None:
            with torch.device("meta"):
                memory.add(stream.statistics(trunk, width, memory.spread))
        yield Sizes(number, inside, file_bytes(_tensors(learner, memory)))


def _saved_inside(config: RunConfig, pictures: int) -> int:
    """Checkpoints of one stage before its end: every so many steps, and at the last."""
    every = config.checkpoint.every_steps
    return 0 if every is None else -(-TaskPlan.of(config, pictures, 1).total_steps // every)


def _tensors(learner: Learner, memory: ClassMemory | None) -> dict[str, Tensor]:
    parts = learner.saved() | ({"memory": memory} if memory is not None else {})
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def _moments(config: RunConfig, learner: Learner) -> dict[str, Tensor]:
    trained = {id(parameter) for group in learner.trained_parameters().values() for parameter in group}
    mine = {name: value for name, value in learner.named_parameters() if id(value) in trained}
    return {f"optimizer.{key}.{name}": value for key in state_keys(config.optimizer) for name, value in mine.items()}


def file_bytes(tensors: dict[str, Tensor]) -> int:
    """Of a safetensors file: the numbers, and a header that names them."""
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    entry = {"dtype": "F32", "data_offsets": [numbers, numbers]}
    header = {name: entry | {"shape": list(tensor.shape)} for name, tensor in tensors.items()}
    return numbers + len(json.dumps(header, separators=(",", ":")))
