"""Optuna's tree-structured Parzen estimator, asked anew for each configuration with all that is known by then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hlgp_dist.config.search_options import OptunaSearch, Search
from hlgp_dist.tuning.distributions import distribution
from hlgp_dist.tuning.observation import Observation, Values

STATES = {
    "running": TrialState.RUNNING,
    "done": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def suggest(search: Search, options: OptunaSearch, number: int, observations: Sequence[Observation]) -> Values:
    """The values of configuration `number`. Running ones are kept away from (constant liar)."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int.from_bytes(f"{search.seed}/{number}".encode()) % 2**32
    sampler = optuna.samplers.TPESampler(n_startup_trials=options.startup_trials, constant_liar=True, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {key: distribution(domain) for key, domain in search.space.items()}
    study.add_trials([_known(observation, distributions) for observation in observations])
    asked = study.ask(distributions)
    return {key: asked.params[key] for key in search.space}


def _known(observation: Observation, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    told: dict[str, Any] = {"params": dict(observation.values), "distributions": distributions}
    if observation.state == "done":
        told["value"] = observation.objectives[-1]
    told["intermediate_values"] = dict(enumerate(observation.objectives, 1))
    return create_trial(state=STATES[observation.state], **told)
