"""What a key is drawn from, in Optuna's terms."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hlgp_dist.config.search_options import Choice, Domain, Grid, LogUniform, Uniform


def distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case Choice():
            return CategoricalDistribution(domain.choice)
        case Grid():
            return CategoricalDistribution(domain.grid)
        case Uniform():
            return FloatDistribution(*domain.uniform)
        case LogUniform():
            return FloatDistribution(*domain.loguniform, log=True)
