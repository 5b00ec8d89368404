"""The options of HLGP and of independent prompts: generator, position, matching, accumulation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from hlgp_dist.config.classifier_options import Gaussian, Unprompted
from hlgp_dist.config.section import Blocks, Fraction, MethodOptions, Section, check_blocks


class RootGenerator(Section):
    """From one root prompt to every group's sub-prompt.

    separate_kv: keys and values have parameters of their own; frozen_after_first_task: later tasks train their root
    and position alone.
    """

    separate_kv: bool = False
    frozen_after_first_task: bool = False


class BottleneckGenerator(RootGenerator):
    """A(r) = r + W_up GELU(W_down r): one residual adapter a group.

    rank: rows of W_down.
    """

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
    """Fixed sines of the block's index in the backbone, added.

    scale: their amplitude.
    """

    kind: Literal["sinusoidal"]
    scale: PositiveFloat = 0.02


class NoPosition(Section):
    """Layers of a group share one prompt exactly."""

    kind: Literal["none"]


Position = Annotated[
    LearnedPosition | MultiplicativePosition | SinusoidalPosition | NoPosition, Field(discriminator="kind")
]


class PosteriorMatching(Section):
    """Task weights from the model's own class posterior.

    cycles: passes an image; the first weights all tasks alike. temperature: of the softmax.
    """

    kind: Literal["posterior"] = "posterior"
    cycles: PositiveInt = 2
    temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _something_to_soften(self) -> PosteriorMatching:
        if self.cycles == 1:
            self.refuse_without_effect("temperature", "cycles: 1 weights all tasks alike")
        return self


class AuxiliaryMatching(Section):
    """Task weights from the posterior of a classifier on un-prompted features; two passes an image.

    classifier: which one; temperature: of its softmax.
    """

    kind: Literal["auxiliary"]
    classifier: Unprompted = Gaussian()
    temperature: PositiveFloat = 1.0


class PrototypeMatching(Section):
    """Task weights from the nearest un-prompted class mean of each task; two passes an image.

    temperature: of the softmax over cosines.
    """

    kind: Literal["prototype"]
    temperature: PositiveFloat = 0.1


Matching = Annotated[PosteriorMatching | AuxiliaryMatching | PrototypeMatching, Field(discriminator="kind")]


class PromptAccumulation(MethodOptions):
    """How the prompts of all tasks so far become one. Shared by every method that keeps a prompt a task.

    prompt_length: rows of a prompt, of keys and of values each. layers: the blocks that are prompted; null: all.
    insertion: prefix to keys and values, tokens beside the patches, or an addition to CLS's key and value.
    root_init_std: of the normal entries that the first task starts from. accumulation: prompts of all tasks weighted
    a picture (`soft`), their mean, their sum, a sum whose terms start at zero, a moving average, the last one's alone.
    ema_decay: of the average so far, at each new task. matching: how `soft` finds its weights. train_mixture: training
    sees what testing sees, or the current task's prompts alone. prediction: the head's; `combined` adds the
    log-posteriors of the head and of the un-prompted classifier, at its temperature.
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


class Hlgp(PromptAccumulation):
    """Hierarchical layer-grouped prompts: root prompt -> sub-prompt of each layer group -> prompt of each layer.

    num_groups: groups of neighbouring prompted blocks. group_layout: how many blocks each has; null: as even as can be.
    generator: from the root prompt to the groups. position: from a group to its layers. carry_over: what a task starts
    from a copy of.
    """

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
    """A free prompt for every layer and task: the abstract's baseline (as many groups as blocks, direct, no position).

    carry_over: whether a task starts from a copy of the former one's prompts.
    """

    kind: Literal["independent"]
    carry_over: Literal["prompts", "none"] = "prompts"

    @model_validator(mode="after")
    def _has_something_to_carry(self) -> Independent:
        if self.accumulation == "sum_delta":
            self.refuse_without_effect("carry_over", "under accumulation: sum_delta a task starts at zero")
        return self
