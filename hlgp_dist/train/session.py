"""Everything one rank holds during a run, and how it is saved and restored."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from hlgp_dist.config.schema import GaussianAlignment, RunConfig
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.patience import LASTING
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import largest_share
from hlgp_dist.data.selection import Part, select
from hlgp_dist.data.tasks import joined, split_tasks
from hlgp_dist.engine.collectives import barrier
from hlgp_dist.errors import DataError
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import BackboneIdentity, build_trunk
from hlgp_dist.models.trunk import Dimensions
from hlgp_dist.train.alignment import ClassMemory
from hlgp_dist.train.checkpoint import (
    Checkpoint,
    bytes_written,
    prefixed,
    restore_module,
    save_checkpoint,
    without_prefix,
)
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.learner import Learner
from hlgp_dist.train.progress import Progress, progress_of
from hlgp_dist.train.retention import is_kept
from hlgp_dist.train.supply import Supply, manifest_of
from hlgp_dist.types import Engine, TaskSpec, WorkerContext

if TYPE_CHECKING:
    from hlgp_dist.train.chronicle import Chronicle

log = logging.getLogger("hlgp_dist")


@dataclass
class Session:
    """One rank of a run."""

    config: RunConfig
    context: WorkerContext
    folder: RunFolder
    manifest: Manifest
    tasks: tuple[TaskSpec, ...]
    """What is tested."""
    stages: tuple[TaskSpec, ...]
    """What is trained, in order: the tasks, or all of their classes at once."""
    supply: Supply
    learner: Learner
    backbone: BackboneIdentity
    memory: ClassMemory | None
    progress: Progress
    loading: Loading
    chronicle: Chronicle | None = None
    """Of the first rank alone."""
    data_numbers: dict[str, float] = field(default_factory=dict)
    """Scalars by tag, of the present task's pictures."""

    @property
    def is_joint(self) -> bool:
        """Whether there is one stage, which knows no tasks."""
        return self.config.train.stream == "joint"

    @property
    def part(self) -> Part:
        """What is evaluated on."""
        return self.config.benchmark.evaluated_on

    @property
    def micro_batch_size(self) -> int | None:
        """The largest of a rank's shares, None where nothing takes gradients."""
        config, world = self.config, self.context.world
        if not self.learner.method.has_gradients:
            return None
        return largest_share(config.train.global_batch_size, world.size, config.engine.known_micro_batch)

    @property
    def is_over(self) -> bool:
        """Whether every stage is trained and tested."""
        return self.progress.position.task == len(self.stages)

    @property
    def is_saved_inside_tasks(self) -> bool:
        """Whether there is a checkpoint of the last step of a task, or a task has no steps."""
        return self.config.checkpoint.every_steps is not None or not self.learner.method.has_gradients

    def training_pictures(self, task: TaskSpec) -> Pictures:
        """Of one task, without the bad ones, each of which is named once.

        Raises:
            DataError: inside of a task others were bad when it was begun.
        """
        self.context.pulse.beat(f"the pictures of task {task.index}")
        with self.context.pulse.watching(self.supply.activity):
            training = self.supply.training(task)
        known = [skipped for skipped in self.progress.skipped if skipped["task"] == task.index]
        if self.progress.position.step > 0 and known != training.skipped:
            raise DataError(
                f"data.on_error: {len(training.skipped)} pictures of task {task.index} are bad now, {len(known)} were "
                f"when it was begun; restore the data, or begin the run anew"
            )
        for skipped in training.skipped[len(known) :]:
            self.progress.skipped.append(skipped)
            if self.context.world.rank == 0:
                log.warning("skipped %(shard)s: sample %(key)s: %(reason)s", skipped)
        self.progress.bytes_read[task.index :] = [training.bytes_read]
        self.data_numbers = {
            "data/wait_seconds": training.seconds,
            "data/decoded_images_per_s": training.decoded / max(training.seconds, 1e-9),
            "data/skipped_samples": len(training.skipped),
        }
        return training.pictures

    def evaluation_pictures(self, task: TaskSpec, after: TaskSpec) -> Pictures:
        """Of one task, what is tested at a stage's end: all of them, but of an earlier task before the last test."""
        fraction = self.config.evaluation.old_task_fraction
        is_whole = task.index == after.index or self.is_last(after)
        with self.context.pulse.watching(self.supply.activity):
            return self.supply.evaluation(task, self.part, None if is_whole else fraction)

    def num_tested(self, task: TaskSpec) -> int:
        """Pictures of a task where all of them are tested."""
        return len(self.supply.selection(task, self.part))

    def count_decoded(self, task: TaskSpec) -> None:
        """At a stage's end: what the ranks have decoded during it, on whatever pictures."""
        decoded = self.supply.decoded_by_all()
        self.progress.decoded_images[task.index :] = [decoded]
        self.data_numbers["data/decoded_images"] = decoded

    def prepare_next(self, task: TaskSpec) -> None:
        """While a task trains: what it is tested on, the next task, and what that is tested on."""
        wanted: list[tuple[TaskSpec, Part]] = [(tested, self.part) for tested in self.tested_after(task)]
        for following in self.stages[task.index + 1 : task.index + 2]:
            wanted += [(following, "train"), (self.tasks[following.index], self.part)]
        self.supply.prepare(wanted)

    def is_last(self, stage: TaskSpec) -> bool:
        """Whether nothing is trained after it."""
        return stage.index == len(self.stages) - 1

    def tested_after(self, stage: TaskSpec) -> tuple[TaskSpec, ...]:
        """What is tested at a stage's end."""
        return self.tasks if self.is_last(stage) else self.tasks[: stage.index + 1]

    def num_samples(self, task: TaskSpec) -> int:
        """Training pictures of a task."""
        return len(self.supply.selection(task, "train"))

    def bytes_of(self, task: TaskSpec) -> int:
        """Size of the records of a task's classes in the shards, validation part included: what decoding them reads."""
        return select(self.manifest, task, "train", 0.0).bytes

    def num_remembered(self) -> int:
        """Numbers in the class statistics that alignment keeps."""
        return sum(tensor.numel() for tensor in self.memory.buffers()) if self.memory is not None else 0

    def save(self, engine: Engine | None) -> None:
        """Write a checkpoint at the present position. Every rank calls it, the first writes."""
        tensors = prefixed("optimizer", engine.state()) if engine is not None else {}
        with engine.whole_parameters() if engine is not None else nullcontext():
            if self.context.world.rank == 0:
                for name, part in self._saved().items():
                    tensors |= prefixed(name, part.state_dict())
                checkpoint = Checkpoint(self.progress.position, tensors, self._record())
                with self.context.pulse.watching(partial(bytes_written, self.folder.checkpoints)):
                    options = self.config.checkpoint
                    keep_too = partial(is_kept, options, self.progress.matrix())
                    save_checkpoint(self.folder.checkpoints, checkpoint, keep=options.keep, keep_too=keep_too)
                    self.folder.keeper.try_publish()
        barrier()
        self.context.pulse.beat()

    def _saved(self) -> dict[str, nn.Module]:
        """The modules that a checkpoint holds."""
        return self.learner.saved() | ({"memory": self.memory} if self.memory is not None else {})

    def _record(self) -> dict[str, Any]:
        progress = {name: value for name, value in vars(self.progress).items() if name != "position"}
        return {"content": self._content(), "progress": progress}

    def _content(self) -> dict[str, str]:
        """What the configuration's paths led to."""
        return {"data.path": self.manifest.digest, "backbone.weights": self.backbone.sha256}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue at a checkpoint that any number of ranks saved; the optimizer's part is the engine's to take.

        Raises:
            DataError: it was made with other pictures or weights than those now at the same paths.
        """
        for key, now in self._content().items():
            saved = checkpoint.record["content"][key]
            if saved != now:
                raise DataError(f"{key}: {self.folder} was begun with content {saved}, now it is {now}")
        for name, part in self._saved().items():
            restore_module(part, without_prefix(name, checkpoint.tensors))
        self.progress = progress_of(checkpoint)


def open_session(config: RunConfig, context: WorkerContext, folder: RunFolder) -> Session:
    """Build trunk, method and head as the configuration says, on this rank's device."""
    manifest = manifest_of(config, LASTING)
    tasks = split_tasks(manifest.classes, config.benchmark)
    trunk, identity = build_trunk(
        config.backbone,
        precision=config.engine.precision,
        seed=config.seed,
        device=context.device,
        trained=config.method.trains_trunk,
    )
    if config.engine.compile:
        trunk.compile_blocks()
    trunk.recompute_blocks(config.engine.checkpoint_blocks == "all")
    setting = setting_of(config, trunk.dimensions, manifest)
    method = build_method(config.method, setting).to(context.device)
    memory = None
    if isinstance(config.alignment, GaussianAlignment):
        memory = ClassMemory(trunk.dimensions.feature_width, config.alignment.kind)
    learner = Learner(trunk, method)
    supply = Supply(config, manifest, trunk.input_format.size, context.world)
    return Session(
        config,
        context,
        folder,
        manifest,
        tasks,
        setting.tasks,
        supply,
        learner,
        identity,
        memory,
        Progress(),
        Loading(context.device, config.data.loader_workers, context.pulse.beat),
    )


def setting_of(config: RunConfig, dimensions: Dimensions, manifest: Manifest) -> Setting:
    """What the method is built for; its tasks are the stages that are trained one after the other."""
    tasks = split_tasks(manifest.classes, config.benchmark)
    if config.train.stream == "joint":
        return Setting(dimensions, (joined(tasks),), config.seed)
    stream = split_tasks(manifest.classes, config.benchmark.model_copy(update={"max_tasks": None}))
    return Setting(dimensions, tasks, config.seed, len(stream))
