"""Every option of the system: its default, its range and whether it changes a result.

Sections are frozen. Each field is `identity` (it changes the result; a resume refuses another value) or
`operational` (it does not; a resume may change it). Cross-field checks check and never mutate. Imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hlgp_dist.config.hlgp_options import Hlgp
from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.method_options import Method
from hlgp_dist.config.optimizer_options import Adam, Optimizer
from hlgp_dist.config.protocols import settings_of
from hlgp_dist.config.search_options import Search
from hlgp_dist.config.section import FOLDER_NAME, Fraction, ProperFraction, Section, Seed, operational
from hlgp_dist.config.study_options import Study


class RunOptions(Section):
    """Where a run or a search writes: `dir/name`.

    dir: a folder, or s3://, gs://; name: null is the config's stem and its identity hash; resume: go on with what is in
    the folder, refuse it (`never`), or refuse to begin (`must`).
    """

    dir: str = operational("runs")
    name: str | None = operational(None, pattern=FOLDER_NAME)
    resume: Literal["auto", "never", "must"] = operational("auto")


class Jitter(Section):
    """Colour jitter: brightness, contrast, saturation and hue in an order drawn per sample.

    brightness, contrast and saturation: how far the factor may stray from 1; hue: how far from 0, in turns.
    """

    brightness: NonNegativeFloat = 0.4
    contrast: NonNegativeFloat = 0.4
    saturation: NonNegativeFloat = 0.4
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1

    @model_validator(mode="after")
    def _does_something(self) -> Jitter:
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            raise ValueError("every factor is zero, which changes nothing; give null")
        return self


class Augmentation(Section):
    """What is done to a training picture, per sample, on the device.

    crop_scale: the least area of the random part of the picture that a step sees; flip: left for right in half of all
    cases; jitter: of colours; null: none.
    """

    crop_scale: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    flip: bool = True
    jitter: Jitter | None = None


class Data(Section):
    """How pictures reach the model, wherever they come from.

    train_fraction: of each class only that part of the training pictures, at least one and always the same; a smaller
    part lies in a larger one, and `benchmark.validation_fraction` is a part of it.
    stored: how training pictures are kept once decoded: `scaled`, the whole picture at the size from which the central
    crop is taken, or `full`. cache_dir and cache_limit_gb (10^9 bytes): where they are kept on each host, and the
    bound; null: the user's cache folder, and all but a twentieth of its disk. augmentation: null: every epoch sees the
    central crop. decode_workers: threads of a rank that decode; null: its share of the host's cores. loader_workers:
    threads that copy the next batches of a rank; 0 has the training thread do it.
    """

    train_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    stored: Literal["scaled", "full"] = "scaled"
    cache_dir: str | None = operational(None)
    cache_limit_gb: PositiveFloat | None = operational(None)
    augmentation: Augmentation | None = Augmentation()
    decode_workers: PositiveInt | None = operational(None)
    loader_workers: NonNegativeInt = operational(1)


class ShardData(Data):
    """A shard folder with its manifest.

    path: a folder, or s3://, gs://, https://. on_error: whether a bad training picture ends the run or is left out; a
    bad one to evaluate on always ends it. max_bad_fraction: the part of a task's that may be left out.
    """

    kind: Literal["shards"] = "shards"
    path: str
    on_error: Literal["fail", "skip"] = "fail"
    max_bad_fraction: Fraction = 0.01

    @model_validator(mode="after")
    def _bounds_what_is_skipped(self) -> ShardData:
        if self.on_error == "fail":
            self.refuse_without_effect("max_bad_fraction", "on_error: fail allows no bad sample")
        return self


class SyntheticData(Data):
    """Pictures that are drawn, `size` pixels square, without a file: for scaling studies, and to try a new cluster.

    classes: how many; train_per_class and test_per_class: pictures of each; size: their sides, in pixels; seed: of the
    pictures; other seeds of the run leave them as they are.
    """

    kind: Literal["synthetic"]
    classes: PositiveInt = 100
    train_per_class: PositiveInt = 50
    test_per_class: PositiveInt = 10
    size: Annotated[int, Field(ge=1, le=4096)] = 224
    seed: Seed = 0


AnyData = Annotated[ShardData | SyntheticData, Field(discriminator="kind")]


class Benchmark(Section):
    """Classes into tasks.

    protocol: a published one by name (see `protocols`): it gives sizes and order, and the data must be what it names.
    split: how `hlgp data prepare` must have divided training and test pictures, e.g. `coda`. init_cls: classes of the
    first task; increment: of each other, but for the last one, which may be smaller. class_order_seed: of a shuffle of
    the sorted classes; null: as they are sorted. class_order_shuffle: what the seed is a seed of, numpy's permutation
    or Python's shuffle. class_order: every class in an order of one's own. max_tasks: end after that many.
    validation_fraction: of each training class, held out and evaluated on in place of the test pictures.
    """

    protocol: str | None = None
    split: str | None = None
    init_cls: PositiveInt = 10
    increment: PositiveInt = 10
    class_order_seed: Seed | None = 1993
    class_order_shuffle: Literal["numpy", "python"] = "numpy"
    class_order: tuple[str, ...] | None = None
    max_tasks: PositiveInt | None = None
    validation_fraction: Fraction = 0.0

    @property
    def evaluated_on(self) -> Literal["validation", "test"]:
        """A run that holds a validation part out never sees a test picture."""
        return "validation" if self.validation_fraction > 0.0 else "test"

    @model_validator(mode="after")
    def _is_what_it_names(self) -> Benchmark:
        if self.protocol is not None:
            for key, value in settings_of(self.protocol).items():
                if getattr(self, key) != value:
                    shown = "null" if value is None else value
                    raise ValueError(f"{key} must be {shown}: protocol {self.protocol} says so; or give protocol: null")
        return self

    @model_validator(mode="after")
    def _one_order(self) -> Benchmark:
        if self.class_order_seed is None:
            self.refuse_without_effect("class_order_shuffle", "class_order_seed: null shuffles nothing")
        if self.class_order is not None:
            self.refuse_without_effect("class_order_shuffle", "class_order lists the classes")
            self.refuse_without_effect("class_order_seed", "class_order lists the classes")
            if len(set(self.class_order)) != len(self.class_order):
                raise ValueError("class_order names a class twice")
        return self


_RESERVED = {
    "img_size": "give backbone.img_size in its place",
    "pretrained": "backbone.weights says it",
    "checkpoint_path": "backbone.weights says it",
    "num_classes": "the head is ours",
    "device": "launch decides",
    "dtype": "engine.precision says it",
    "in_chans": "pictures have three channels",
    "features_only": "the whole trunk is used",
}


class Backbone(Section):
    """A timm VisionTransformer.

    name: with the tag of its weights. weights: `hub`, `none` (random ones) or a local path. img_size: of the square
    that it sees; null: what it was trained with. normalization: of pixels: `pretrained`, as the weights' record says;
    `none`: 0 to 1; `half`: -1 to 1; `imagenet`. kwargs: further arguments for timm, as `depth`. sha256: what the
    weights' hash must begin with; every result names it, so that a preset can.
    """

    name: str = "vit_base_patch16_224.augreg_in21k"
    weights: str = "hub"
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")
    img_size: PositiveInt | None = None
    normalization: Literal["pretrained", "none", "half", "imagenet"] = "pretrained"
    kwargs: dict[str, bool | int | float | str | None] = Field(default={})

    @model_validator(mode="after")
    def _nothing_twice(self) -> Backbone:
        for key, because in _RESERVED.items():
            if key in self.kwargs:
                raise ValueError(f"kwargs.{key}: {because}")
        return self


class NoAlignment(Section):
    """The head stays as each task left it."""

    kind: Literal["none"] = "none"


class GaussianAlignment(Section):
    """After each task but the first the head is retrained on Gaussian features of every seen class.

    epochs: of the retraining; samples_per_class: features drawn of each class an epoch; batch_size: of these;
    learning_rate and momentum: of its SGD.
    """

    epochs: PositiveInt = 10
    samples_per_class: PositiveInt = 128
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.005
    momentum: Fraction = 0.9


class FullAlignment(GaussianAlignment):
    """One full covariance a class."""

    kind: Literal["full"]


class DiagonalAlignment(GaussianAlignment):
    """One variance a feature and class."""

    kind: Literal["diagonal"]


Alignment = Annotated[NoAlignment | FullAlignment | DiagonalAlignment, Field(discriminator="kind")]


class Train(Section):
    """How long each task trains.

    stream: the tasks one after the other, or all classes at once (`joint`: the upper bound; tests stay by task).
    epochs: of each task. global_batch_size: pictures of a step, over all ranks. max_steps_per_task: a task ends after
    so many; null: after its epochs.
    """

    stream: Literal["sequential", "joint"] = "sequential"
    epochs: PositiveInt = 20
    global_batch_size: PositiveInt = 128
    max_steps_per_task: PositiveInt | None = None


class EngineOptions(Section):
    """DeepSpeed.

    precision: the frozen trunk's dtype; prompts, head and reductions are always fp32. int8: bf16 but for the weights of
    its blocks, whose products with rounded tokens and gradients are of integers. compile: the blocks run by kernels
    that torch makes for them, which int8 is slow without. zero_stage: what of the training state is divided among the
    ranks; 3: the trunk, too.
    micro_batch_size: most pictures of a rank that go through the model at a time, the rest of its share in further
    micro-steps; null: all of them at once; `auto`: as many as its device's memory holds, which the ranks find out.
    checkpoint_blocks: activation checkpointing, so that a block keeps its input for the backward pass and computes the
    rest again; `auto`: where else only few pictures fit. timeout_seconds: of a collective, after which its rank fails.
    """

    precision: Literal["bf16", "fp32", "int8"] = "bf16"
    compile: bool = operational(False)
    zero_stage: Literal[0, 1, 2, 3] = operational(0)
    micro_batch_size: PositiveInt | Literal["auto"] | None = operational(None)
    checkpoint_blocks: Literal["none", "all", "auto"] = operational("none")
    timeout_seconds: PositiveInt = operational(1800)

    @model_validator(mode="after")
    def _measures_what_it_decides_by(self) -> EngineOptions:
        if self.checkpoint_blocks == "auto" and self.micro_batch_size != "auto":
            raise ValueError("checkpoint_blocks: auto goes by what micro_batch_size: auto measures; give none or all")
        return self

    @property
    def known_micro_batch(self) -> int | None:
        """Before ranks have found out what `auto` is, it bounds nothing."""
        return None if self.micro_batch_size == "auto" else self.micro_batch_size


class Evaluation(Section):
    """Testing: every picture once, over all ranks.

    batch_size: pictures of a rank at a time.
    old_task_fraction: after a task but the last, of each earlier task's class only that part of the pictures, at least
    one and always the same; null: all of them.
    """

    batch_size: PositiveInt = operational(128)
    old_task_fraction: ProperFraction | None = None


class CheckpointOptions(Section):
    """Saved at each task's end.

    every_steps: inside tasks, too; null: not. keep: how many of the last stay.
    keep_task_ends: those of every task's end stay, too; keep_best: of the task's end with the best average accuracy.
    """

    every_steps: PositiveInt | None = operational(None)
    keep: PositiveInt = operational(2)
    keep_task_ends: bool = operational(False)
    keep_best: bool = operational(False)

    @model_validator(mode="after")
    def _nothing_twice(self) -> CheckpointOptions:
        if self.keep_task_ends:
            self.refuse_without_effect("keep_best", "keep_task_ends keeps the best one, too")
        return self


HPARAMS = (
    "seed",
    "backbone.name",
    "method.kind",
    "method.num_groups",
    "method.prompt_length",
    "alignment.kind",
    "optimizer.prompt_lr",
    "optimizer.head_lr",
    "train.epochs",
    "train.global_batch_size",
)
"""What most searches vary and most tables compare."""


class Telemetry(Section):
    """What is told while a run goes on.

    log_every_steps: how often scalars leave the device, and a stop is looked for. progress: lines on the terminal.
    hparams: TensorBoard's columns, which it wants alike in all runs that it shows together. varied: which of them come
    first; a search puts in the keys of its space.
    """

    log_every_steps: PositiveInt = operational(10)
    progress: bool = operational(True)
    hparams: tuple[str, ...] = operational(HPARAMS)
    varied: tuple[str, ...] = operational(())


class RunConfig(Section):
    """One run, or with `search` one search, or with `study` many of them.

    seed: of the order of samples, of what is drawn at the start, of augmentation. run: where results go; data: which
    pictures; benchmark: their classes into tasks; backbone: the frozen ViT; method: what is trained beside it;
    alignment: of the head, after a task; train: for how long; optimizer: by what steps; engine: how they are computed;
    evaluation: how it is tested; checkpoint: what is saved; telemetry: what is told; launch: on which machines;
    search: over which values; study: of which cells.
    """

    seed: Seed = 0
    run: RunOptions = operational(RunOptions())
    data: AnyData = Field(json_schema_extra={"default_kind": "shards"})
    benchmark: Benchmark = Benchmark()
    backbone: Backbone = Backbone()
    method: Method = Hlgp()
    alignment: Alignment = NoAlignment()
    train: Train = Train()
    optimizer: Optimizer = Adam()
    engine: EngineOptions = EngineOptions()
    evaluation: Evaluation = Evaluation()
    checkpoint: CheckpointOptions = operational(CheckpointOptions())
    telemetry: Telemetry = operational(Telemetry())
    launch: LaunchOptions = operational(LaunchOptions())
    search: Search | None = None
    study: Study | None = operational(None)
