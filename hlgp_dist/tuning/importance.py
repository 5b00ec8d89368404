"""How much each searched key moved the objective: Optuna's PED-ANOVA over the configurations that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from hlgp_dist.config.search_options import Domain
from hlgp_dist.tuning.distributions import distribution

FEWEST = 8
"""Configurations below which a rank among them says next to nothing."""


def importances(
    space: Mapping[str, Domain], values: Sequence[Mapping[str, Any]], objectives: Sequence[float]
) -> dict[str, float]:
    """Parts of 1 by key, largest first; empty with too few configurations, one objective for
    all, one key alone, or a configuration that the space does not have.

    Of Watanabe, Bansal and Hutter, PED-ANOVA (2023): how the best configurations are spread over a key's values
    beside all of them. What was stopped early has no final objective and is left out.
    """
    if len(space) < 2 or len(objectives) < FEWEST or len(set(objectives)) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {key: distribution(domain) for key, domain in space.items()}
    study = optuna.create_study(direction="maximize")
    try:
        for given, objective in zip(values, objectives, strict=True):
            params = {key: given[key] for key in space}
            study.add_trial(create_trial(params=params, distributions=distributions, value=objective))
    except ValueError:  # a value that its domain does not have: somebody's edit
        return {}
    return dict(optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))
