"""The options of optimizers and of their schedules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from hlgp_dist.config.section import Fraction, Section


class WarmUp(Section):
    """Every schedule begins with a linear one.

    warmup_steps: how long it takes, in steps of each task.
    """

    warmup_steps: NonNegativeInt = 0


class CosineSchedule(WarmUp):
    """Half a cosine over each task.

    final_fraction: of the rate, at the task's end.
    """

    kind: Literal["cosine"] = "cosine"
    final_fraction: Fraction = 0.0


class QuarterCosineSchedule(WarmUp):
    """In epoch e of E: cos(0.495 pi e / (E - 1)) times the rate, so that the last trains at 1.6 % (CODA-Prompt)."""

    kind: Literal["quarter_cosine"]


class ConstantSchedule(WarmUp):
    """The rate itself."""

    kind: Literal["constant"]


Schedule = Annotated[CosineSchedule | QuarterCosineSchedule | ConstantSchedule, Field(discriminator="kind")]


Rate = Annotated[PositiveFloat, Field(le=1e30)]
"""Beyond it a step overflows single precision before a loss could be told to be none."""


class OptimizerRates(Section):
    """What every optimizer has; its state starts anew with each task.

    prompt_lr: the rate of what the method trains; head_lr: of the head; max_grad_norm: gradients together are cut to
    that norm; null: never. schedule: of both rates over a task.
    """

    prompt_lr: Rate = 0.003
    head_lr: Rate = 0.003
    schedule: Schedule = CosineSchedule()
    max_grad_norm: PositiveFloat | None = None


class Adam(OptimizerRates):
    """Adam.

    betas: decays of its two moments.
    """

    kind: Literal["adam"] = "adam"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)


class AdamW(OptimizerRates):
    """Adam with decoupled weight decay.

    betas: decays of its two moments; weight_decay: of everything that is trained.
    """

    kind: Literal["adamw"]
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01


class Sgd(OptimizerRates):
    """Stochastic gradient descent.

    momentum: of the gradients; weight_decay: of everything that is trained.
    """

    kind: Literal["sgd"]
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]
