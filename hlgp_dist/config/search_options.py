"""The options of a search: what is varied, how trials end early, what they see."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from hlgp_dist.config.section import Section, Seed, operational


class Asha(Section):
    """Asynchronous successive halving; a rung is a number of finished tasks."""

    kind: Literal["asha"] = "asha"
    grace_tasks: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 2


class Fifo(Section):
    """Every trial runs to its end."""

    kind: Literal["fifo"]


Scheduler = Annotated[Asha | Fifo, Field(discriminator="kind")]


class Choice(Section):
    choice: tuple[bool | int | float | str | None, ...] = Field(min_length=1)


class Uniform(Section):
    uniform: tuple[float, float]


class LogUniform(Section):
    loguniform: tuple[PositiveFloat, PositiveFloat]


class Grid(Section):
    grid: tuple[bool | int | float | str | None, ...] = Field(min_length=1)


Domain = Choice | Uniform | LogUniform | Grid


class Search(Section):
    """A search over dotted keys. Trials see only the validation part; the winner is refitted and tested once.

    max_tasks: trials end after that many tasks, so that nothing of later ones has a say, and cost less.
    """

    space: dict[str, Domain] = Field(min_length=1)
    num_samples: PositiveInt = 8
    seed: Seed = 0
    scheduler: Scheduler = Asha()
    max_tasks: PositiveInt | None = None
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    max_concurrent_trials: PositiveInt | None = operational(None)
