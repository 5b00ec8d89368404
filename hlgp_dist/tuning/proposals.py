"""Which values the trials of a search get: a pure function of the search, the number of the configuration and, for
Optuna, of what became of those before it. Nothing is drawn from hidden state, so a resumed search proposes the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from hlgp_dist.config.search_options import Choice, Domain, Grid, LogUniform, OptunaSearch, Search, Uniform
from hlgp_dist.tuning.observation import Observation, Values


def num_configurations(search: Search) -> int:
    """Every point of the grid `num_samples` times, other keys drawn anew each time."""
    return search.num_samples * math.prod(len(domain.grid) for domain in _grids(search).values())


def propose(search: Search, number: int, observations: Sequence[Observation]) -> Values:
    """The values of configuration `number`, by dotted key in the order of the space."""
    if isinstance(search.algorithm, OptunaSearch):
        from hlgp_dist.tuning.tpe import suggest  # Optuna takes its time to import

        return suggest(search, search.algorithm, number, observations)
    random = np.random.default_rng([search.seed, number])
    drawn = {key: _draw(domain, random) for key, domain in sorted(search.space.items()) if not isinstance(domain, Grid)}
    values = drawn | _grid_point(search, number)
    return {key: values[key] for key in search.space}


def _grids(search: Search) -> dict[str, Grid]:
    return {key: domain for key, domain in search.space.items() if isinstance(domain, Grid)}


def _grid_point(search: Search, number: int) -> Values:
    grids = _grids(search)
    points = list(product(*(domain.grid for domain in grids.values())))
    return dict(zip(grids, points[number % len(points)], strict=True))


def _draw(domain: Domain, random: np.random.Generator) -> Any:
    match domain:
        case Choice():
            return domain.choice[random.integers(len(domain.choice))]
        case Uniform():
            return float(random.uniform(*domain.uniform))
        case LogUniform():
            low, high = domain.loguniform
            return math.exp(random.uniform(math.log(low), math.log(high)))
    raise AssertionError(f"a grid is not drawn from: {domain}")
