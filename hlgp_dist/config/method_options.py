"""The options of every method, a tagged union on `kind`. All are `identity`: each changes a result.

A method of another package joins the union by an entry point (see `plugins`).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from hlgp_dist.config.plugins import plugin_options
from hlgp_dist.config.section import Fraction, MethodOptions, Section
from hlgp_dist.errors import ConfigError

Blocks = tuple[NonNegativeInt, ...]


class RootGenerator(Section):
    """From one root prompt to every group's sub-prompt.

    separate_kv: keys and values have parameters of their own; frozen_after_first_task: later tasks train their root
    and position alone.
    """

    separate_kv: bool = False
    frozen_after_first_task: bool = False


class BottleneckGenerator(RootGenerator):
    """A(r) = r + W_up GELU(W_down r): one residual adapter a group."""

    kind: Literal["bottleneck"] = "bottleneck"
    rank: PositiveInt = 16


class LinearGenerator(RootGenerator):
    """A(r) = r + W r + b, one full matrix a group."""

    kind: Literal["linear"]


class ScaleShiftGenerator(RootGenerator):
    """A(r) = a * r + b, two vectors a group."""

    kind: Literal["scale_shift"]


class DirectGenerator(Section):
    """No root prompt: each group's sub-prompt is free."""

    kind: Literal["direct"]


Generator = Annotated[
    BottleneckGenerator | LinearGenerator | ScaleShiftGenerator | DirectGenerator, Field(discriminator="kind")
]


class LearnedPosition(Section):
    """One learned vector a layer, added; zero at the start of the first task."""

    kind: Literal["learned"] = "learned"


class MultiplicativePosition(Section):
    """One learned vector a layer, P_l = S_g * (1 + gamma_l); zero at the start of the first task."""

    kind: Literal["multiplicative"]


class SinusoidalPosition(Section):
    """Fixed sines of the block's index in the backbone times `scale`, added."""

    kind: Literal["sinusoidal"]
    scale: PositiveFloat = 0.02


class NoPosition(Section):
    """Layers of a group share one prompt exactly."""

    kind: Literal["none"]


Position = Annotated[
    LearnedPosition | MultiplicativePosition | SinusoidalPosition | NoPosition, Field(discriminator="kind")
]


class UnpromptedClassifier(MethodOptions):
    """A classifier in closed form on un-prompted features.

    features: the pooled one; with the mean patch token behind it; or (`several_blocks`) with those behind the blocks at
    six and eight tenths of the depth, too.
    """

    takes_gradients: ClassVar[bool] = False

    features: Literal["pooled", "pooled_and_patches", "several_blocks"] = "pooled"


class NearestMean(UnpromptedClassifier):
    """Nearest class mean by cosine (SimpleCIL)."""

    kind: Literal["ncm"]


class Gaussian(UnpromptedClassifier):
    """Linear discriminant analysis: one Gaussian a class with a common covariance."""

    kind: Literal["gaussian"] = "gaussian"


class RanPac(UnpromptedClassifier):
    """Ridge regression behind a random projection and ReLU (RanPAC).

    ridge: in units of the mean diagonal of the Gram matrix, so that it does not depend on widths and counts.
    """

    kind: Literal["ranpac"]
    projection_width: PositiveInt = 4000
    ridge: PositiveFloat = 0.01


Unprompted = Annotated[Gaussian | RanPac | NearestMean, Field(discriminator="kind")]


class PosteriorMatching(Section):
    """Task weights from the model's own class posterior; `cycles` passes an image."""

    kind: Literal["posterior"] = "posterior"
    cycles: PositiveInt = 2
    temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _something_to_soften(self) -> PosteriorMatching:
        if self.cycles == 1:
            self.refuse_without_effect("temperature", "cycles: 1 weights all tasks alike")
        return self


class AuxiliaryMatching(Section):
    """Task weights from the posterior of a classifier on un-prompted features; two passes an image."""

    kind: Literal["auxiliary"]
    classifier: Unprompted = Gaussian()
    temperature: PositiveFloat = 1.0


class PrototypeMatching(Section):
    """Task weights from the nearest un-prompted class mean of each task; two passes an image."""

    kind: Literal["prototype"]
    temperature: PositiveFloat = 0.1


Matching = Annotated[PosteriorMatching | AuxiliaryMatching | PrototypeMatching, Field(discriminator="kind")]


class PromptAccumulation(MethodOptions):
    """How the prompts of all tasks so far become one. Shared by every method that keeps a prompt a task.

    prediction: `combined` adds the log-posteriors of the head and of the un-prompted classifier, at its temperature.
    """

    prompt_length: PositiveInt = 10
    layers: Blocks | None = None
    insertion: Literal["prefix", "tokens", "cls"] = "prefix"
    root_init_std: NonNegativeFloat = 0.02
    accumulation: Literal["soft", "mean", "sum", "sum_delta", "ema", "last"] = "soft"
    ema_decay: Fraction = 0.7
    matching: Matching = PosteriorMatching()
    train_mixture: Literal["accumulated", "current"] = "accumulated"
    prediction: Literal["prompted", "combined"] = "prompted"

    @model_validator(mode="after")
    def _accumulation_fits(self) -> PromptAccumulation:
        if self.layers is not None:
            check_blocks("layers", self.layers)
            if not self.layers:
                raise ValueError("layers must not be empty; null means all blocks")
        if self.insertion == "cls" and self.prompt_length != 1:
            raise ValueError("prompt_length must be 1: insertion: cls adds one vector to the key and one to the value")
        if self.accumulation != "soft":
            self.refuse_without_effect("matching", "only accumulation: soft weights tasks per sample")
        if self.accumulation != "ema":
            self.refuse_without_effect("ema_decay", "only accumulation: ema averages so")
        if self.accumulation in ("last", "ema"):
            because = f"accumulation: {self.accumulation} trains its own prompts alone"
            self.refuse_without_effect("train_mixture", because)
        if self.accumulation == "sum_delta" and self.train_mixture == "current":
            raise ValueError("train_mixture must be accumulated: under sum_delta a task learns what is to be added")
        if self.accumulation == "soft" and self.matching.kind != "posterior" and self.train_mixture != "current":
            raise ValueError(
                f"matching.kind: {self.matching.kind} needs train_mixture: current (it knows a task only after it)"
            )
        if self.prediction == "combined" and (self.accumulation != "soft" or self.matching.kind != "auxiliary"):
            raise ValueError("prediction: combined needs accumulation: soft and matching.kind: auxiliary")
        return self


def check_blocks(field: str, blocks: Blocks) -> None:
    """Raise ValueError unless ascending and without repetition."""
    if list(blocks) != sorted(set(blocks)):
        raise ValueError(f"{field} must be ascending block indices without repetition")


class Hlgp(PromptAccumulation):
    """Hierarchical layer-grouped prompts: root prompt -> sub-prompt of each layer group -> prompt of each layer."""

    kind: Literal["hlgp"] = "hlgp"
    num_groups: PositiveInt = 3
    group_layout: tuple[PositiveInt, ...] | None = None
    generator: Generator = BottleneckGenerator()
    position: Position = LearnedPosition()
    carry_over: Literal["root_and_generator", "root", "none"] = "root_and_generator"

    @model_validator(mode="after")
    def _groups_agree(self) -> Hlgp:
        if self.group_layout is not None and len(self.group_layout) != self.num_groups:
            raise ValueError(f"group_layout lists {len(self.group_layout)} sizes, num_groups is {self.num_groups}")
        if self.carry_over == "root" and self.generator.kind == "direct":
            raise ValueError("carry_over: root needs a root prompt, generator.kind: direct has none")
        if self.accumulation == "sum_delta":
            self.refuse_without_effect("carry_over", "under accumulation: sum_delta a task starts at zero")
            if self.position.kind == "sinusoidal":
                raise ValueError("position.kind: sinusoidal does not start at zero, as accumulation: sum_delta wants")
        return self

    @model_validator(mode="after")
    def _generator_fits(self) -> Hlgp:
        if not isinstance(self.generator, RootGenerator):
            return self
        if self.generator.separate_kv and self.insertion == "tokens":
            raise ValueError("generator.separate_kv has no effect: insertion: tokens has neither keys nor values")
        if self.generator.frozen_after_first_task and self.accumulation == "sum_delta":
            raise ValueError("generator.frozen_after_first_task has no sense under sum_delta: a task starts at zero")
        if self.generator.frozen_after_first_task and self.carry_over != "root_and_generator":
            raise ValueError(f"carry_over: {self.carry_over} draws anew what generator.frozen_after_first_task keeps")
        return self


class Independent(PromptAccumulation):
    """A free prompt for every layer and task: the abstract's baseline (num_groups = depth, direct, no position)."""

    kind: Literal["independent"]
    carry_over: Literal["prompts", "none"] = "prompts"

    @model_validator(mode="after")
    def _has_something_to_carry(self) -> Independent:
        if self.accumulation == "sum_delta":
            self.refuse_without_effect("carry_over", "under accumulation: sum_delta a task starts at zero")
        return self


class L2p(MethodOptions):
    """Learning to Prompt: a pool whose `top_k` prompts nearest to a picture are put in at the input.

    `prefix`: keys and values of block 0 in place of input tokens (L2P++ of CODA-Prompt).
    """

    kind: Literal["l2p"]
    pool_size: PositiveInt = 10
    prompt_length: PositiveInt = 5
    top_k: PositiveInt = 5
    insertion: Literal["tokens", "prefix"] = "tokens"
    pull: NonNegativeFloat = 0.1

    @model_validator(mode="after")
    def _pool_is_large_enough(self) -> L2p:
        if self.top_k > self.pool_size:
            raise ValueError(f"top_k must be at most pool_size ({self.pool_size})")
        return self


class DualPrompt(MethodOptions):
    """A general prompt that every task trains, and an expert prompt a task, found by the nearest key.

    keys: one for all expert blocks of a task, or one a block, which then finds its expert alone (CODA-Prompt's code).
    """

    kind: Literal["dualprompt"]
    general_length: PositiveInt = 5
    general_layers: Blocks = (0, 1)
    expert_length: PositiveInt = 5
    expert_layers: Blocks = (2, 3, 4)
    keys: Literal["one", "per_layer"] = "one"
    pull: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _layers_differ(self) -> DualPrompt:
        check_blocks("general_layers", self.general_layers)
        check_blocks("expert_layers", self.expert_layers)
        if not self.expert_layers:
            raise ValueError("expert_layers must not be empty")
        both = sorted({*self.general_layers} & {*self.expert_layers})
        if both:
            raise ValueError(f"expert_layers must not hold blocks {both} of general_layers")
        return self


class Coda(MethodOptions):
    """CODA-Prompt: prompts as sums of components, weighted by the cosine of an attended query and a key.

    num_components: over all tasks; each task gets as many. prompt_length: of keys and of values each.
    """

    kind: Literal["coda"]
    num_components: PositiveInt = 100
    prompt_length: PositiveInt = 4
    layers: Blocks = (0, 1, 2, 3, 4)
    orthogonality: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _layers_fit(self) -> Coda:
        check_blocks("layers", self.layers)
        if not self.layers:
            raise ValueError("layers must not be empty")
        return self


class Apt(MethodOptions):
    """Additive prompts: one vector a layer onto the key and value of CLS, averaged over tasks for tests; one pass."""

    kind: Literal["apt"]
    ema_decay: Fraction = 0.7
    init_std: NonNegativeFloat = 0.02


class Linear(MethodOptions):
    """No prompts: a linear probe on the frozen features."""

    trains_prompts: ClassVar[bool] = False

    kind: Literal["linear"]


class FullFineTuning(MethodOptions):
    """The whole trunk trains, at `optimizer.prompt_lr`: the lower bound of a sequence of tasks."""

    trains_trunk: ClassVar[bool] = True

    kind: Literal["full"]


Builtin = Hlgp | Independent | L2p | DualPrompt | Coda | Apt | Linear | FullFineTuning | NearestMean | Gaussian | RanPac
BUILTIN_KINDS = frozenset(get_args(member.model_fields["kind"].annotation)[0] for member in get_args(Builtin))


@cache
def _union(plugin: type[Section] | None) -> TypeAdapter[Any]:
    """The methods that ship, and one of another package."""
    members: Any = Builtin if plugin is None else Builtin | plugin
    return TypeAdapter(Annotated[members, Field(discriminator="kind")])


def _chosen(value: Any, info: ValidationInfo) -> Any:
    """The options that `kind` names; from JSON strictly, where lists stand for tuples."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    plugin = plugin_options(kind) if isinstance(kind, str) else None
    if plugin is not None and kind in BUILTIN_KINDS:
        raise ConfigError(
            f"method.kind = {kind}: an installed plug-in takes the name of a method that ships; rename it"
        )
    union = _union(plugin)
    return union.validate_json(json.dumps(value), strict=True) if info.mode == "json" else union.validate_python(value)


Method = Annotated[
    Builtin,
    Field(discriminator="kind", json_schema_extra={"plugins": True}),
    PlainValidator(_chosen),
    SerializeAsAny(),
]
