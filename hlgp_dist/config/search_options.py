"""The options of a search: what is varied, how trials end early, what they see."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hlgp_dist.config.section import ProperFraction, Section, Seed, operational


class Asha(Section):
    """Asynchronous successive halving; a rung is a number of finished tasks.

    grace_tasks: the first rung; reduction_factor: from one rung to the next, and of those at a rung one part in that
    many goes on.
    """

    kind: Literal["asha"] = "asha"
    grace_tasks: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 2


class Fifo(Section):
    """Every trial runs to its end."""

    kind: Literal["fifo"]


Scheduler = Annotated[Asha | Fifo, Field(discriminator="kind")]


class RandomSearch(Section):
    """Independent draws; `grid` domains are gone through in order."""

    kind: Literal["random"] = "random"


class OptunaSearch(Section):
    """Optuna's tree-structured Parzen estimator.

    startup_trials: the first, which are drawn independently.
    """

    kind: Literal["optuna"]
    startup_trials: PositiveInt = 10


Algorithm = Annotated[RandomSearch | OptunaSearch, Field(discriminator="kind")]


class Budget(Section):
    """Bounds on a search's trials, over all resumes; where one is reached the search ends with what it has (exit 8).

    gpu_hours: hours that trials ran, times the GPUs they hold (where they hold none, times their workers); wall_hours:
    of the command; trials: how many are started, a configuration's replicates all or none.
    """

    gpu_hours: PositiveFloat | None = operational(None)
    wall_hours: PositiveFloat | None = operational(None)
    trials: PositiveInt | None = operational(None)


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

    space: dotted keys and what each is drawn from. algorithm: by which values are chosen. num_samples: configurations;
    of a grid, times its points. seed: of the draws. seeds: replicates of each configuration, whose mean objective
    counts; they are stopped together. scheduler: by which trials are stopped. max_tasks: trials end after that many
    tasks, so that nothing of later ones has a say, and cost less. validation_fraction: of each training class, held out
    from trials. old_task_fraction: of the trials' evaluations, see `Evaluation`; the refit's are whole.
    max_concurrent_trials: null: as many as the cluster holds. budget: of all trials.
    """

    space: dict[str, Domain] = Field(min_length=1)
    algorithm: Algorithm = RandomSearch()
    num_samples: PositiveInt = 8
    seed: Seed = 0
    seeds: tuple[Seed, ...] | None = Field(default=None, min_length=2)
    scheduler: Scheduler = Asha()
    max_tasks: PositiveInt | None = None
    validation_fraction: ProperFraction = 0.2
    old_task_fraction: ProperFraction | None = None
    max_concurrent_trials: PositiveInt | None = operational(None)
    budget: Budget = operational(Budget())

    @model_validator(mode="after")
    def _replicates_are_other_runs(self) -> Search:
        if self.seeds is not None and len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds names a seed twice")
        if self.seeds is not None and "seed" in self.space:
            raise ValueError("space.seed: seeds are replicates of each configuration already; give one of the two")
        return self

    @model_validator(mode="after")
    def _budget_holds_one(self) -> Search:
        least, most = len(self.seeds or ()), self.budget.trials
        if most is not None and most < least:
            raise ValueError(f"budget.trials must be at least {least}, the replicates of one configuration (seeds)")
        return self

    @model_validator(mode="after")
    def _optuna_chooses(self) -> Search:
        for key, domain in self.space.items():
            if isinstance(self.algorithm, OptunaSearch) and isinstance(domain, Grid):
                raise ValueError(f"space.{key}: optuna goes through no grid; write `choice` in place of `grid`")
        return self
