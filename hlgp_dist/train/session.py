"""Everything one rank holds during a run, and how it is saved and restored."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from torch import nn

from hlgp_dist.config.schema import DiagonalAlignment, FullAlignment, RunConfig
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.manifest import Manifest, read_manifest
from hlgp_dist.data.selection import Part, Selection, select
from hlgp_dist.data.store import Store, open_store
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
    Position,
    prefixed,
    restore_module,
    save_checkpoint,
    without_prefix,
)
from hlgp_dist.train.chronicle import Chronicle
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import Engine, TaskSpec, WorkerContext


@dataclass
class Progress:
    """What a run has done so far; all of it goes into every checkpoint.

    right[t][i]: test pictures of task i classified right after stage t; task_right[t][i]: whose task was found;
    totals[i]: how many there are; final: what only the last evaluation measures; bytes_read[t]: of the shards, for
    the training pictures of stage t; passes: through the trunk that a picture takes in training and in test;
    trained_parameters: of the newest stage, head apart.
    """

    position: Position = field(default_factory=Position)
    passes: dict[str, int] = field(default_factory=dict)
    trained_parameters: int = 0
    right: list[list[int]] = field(default_factory=list)
    task_right: list[list[int]] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    final: dict[str, float | None] = field(default_factory=dict)
    bytes_read: list[int] = field(default_factory=list)
    trained_images: int = 0
    trained_seconds: float = 0.0

    def matrix(self) -> list[list[float]]:
        """a[t][i], the lower triangle."""
        return [[right / total for right, total in zip(row, self.totals, strict=False)] for row in self.right]

    def task_identification(self) -> float:
        """Part of the test pictures whose task was found after the last task so far, mean over tasks (macro)."""
        return fmean(right / total for right, total in zip(self.task_right[-1], self.totals, strict=True))


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
    learner: Learner
    backbone: BackboneIdentity
    memory: ClassMemory | None
    progress: Progress
    loading: Loading
    chronicle: Chronicle | None = None
    """Of the first rank alone."""

    @property
    def is_joint(self) -> bool:
        """Whether there is one stage, which knows no tasks."""
        return self.config.train.stream == "joint"

    @property
    def part(self) -> Part:
        """What is evaluated on."""
        return self.config.benchmark.evaluated_on

    def store(self, task: TaskSpec, part: Part) -> Store:
        """The decoded pictures of one task; the first rank of a node builds, the others wait."""
        selection = self._selection(task, part)
        size, data = self.learner.trunk.input_format.size, self.config.data
        store = open_store(
            data.path, self.manifest, selection, size, cache_dir=data.cache_dir, workers=data.decode_workers
        )
        barrier()
        return store

    def _selection(self, task: TaskSpec, part: Part) -> Selection:
        return select(self.manifest, task, part, self.config.benchmark.validation_fraction)

    def num_samples(self, task: TaskSpec) -> int:
        """Training pictures of a task."""
        return len(self._selection(task, "train"))

    def bytes_of(self, task: TaskSpec) -> int:
        """Size of a task's training records in the shards, what reading it at least takes."""
        return self._selection(task, "train").bytes

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
                save_checkpoint(self.folder.checkpoints, checkpoint, keep=self.config.checkpoint.keep)
        barrier()

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
                raise DataError(f"{key}: {self.folder.path} was begun with content {saved}, now it is {now}")
        for name, part in self._saved().items():
            restore_module(part, without_prefix(name, checkpoint.tensors))
        self.progress = Progress(position=checkpoint.position, **checkpoint.record["progress"])


def open_session(config: RunConfig, context: WorkerContext, folder: RunFolder) -> Session:
    """Build trunk, method and head as the configuration says, on this rank's device."""
    manifest = read_manifest(config.data.path)
    tasks = split_tasks(manifest.classes, config.benchmark)
    trunk, identity = build_trunk(
        config.backbone,
        precision=config.engine.precision,
        seed=config.seed,
        device=context.device,
        trained=config.method.trains_trunk,
    )
    setting = setting_of(config, trunk.dimensions, manifest)
    method = build_method(config.method, setting).to(context.device)
    memory = None
    if isinstance(config.alignment, FullAlignment | DiagonalAlignment):
        memory = ClassMemory(trunk.dimensions.feature_width, config.alignment.kind)
    learner = Learner(trunk, method)
    return Session(
        config,
        context,
        folder,
        manifest,
        tasks,
        setting.tasks,
        learner,
        identity,
        memory,
        Progress(),
        Loading(context.device, config.data.loader_workers),
    )


def setting_of(config: RunConfig, dimensions: Dimensions, manifest: Manifest) -> Setting:
    """What the method is built for; its tasks are the stages that are trained one after the other."""
    tasks = split_tasks(manifest.classes, config.benchmark)
    if config.train.stream == "joint":
        return Setting(dimensions, (joined(tasks),), config.seed)
    stream = split_tasks(manifest.classes, config.benchmark.model_copy(update={"max_tasks": None}))
    return Setting(dimensions, tasks, config.seed, len(stream))
