"""What is proposed: grids whole, draws within bounds, Optuna by what it was told; each a function of its arguments."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hlgp_dist.tuning.observation import Observation
from hlgp_dist.tuning.proposals import num_configurations, propose
from tests.tuning.simulated import LR, search_of

MIXED = {
    LR: {"loguniform": [1e-4, 1e-1]},
    "method.num_groups": {"choice": [1, 2, 3]},
    "method.root_init_std": {"uniform": [0.01, 0.02]},
}


def test_a_grid_is_gone_through_as_often_as_it_is_sampled() -> None:
    space = {LR: {"grid": [0.1, 0.2]}, "seed": {"grid": [1, 2, 3]}, "method.root_init_std": {"uniform": [0.01, 0.02]}}
    search = search_of(space=space, num_samples=2)
    proposed = [propose(search, number, []) for number in range(num_configurations(search))]
    assert [(values[LR], values["seed"]) for values in proposed] == list(product([0.1, 0.2], [1, 2, 3])) * 2
    assert len({values["method.root_init_std"] for values in proposed}) == 12


def test_draws_follow_their_laws() -> None:
    search = search_of(space=MIXED, num_samples=400)
    drawn = [propose(search, number, []) for number in range(400)]
    logs = np.log10([values[LR] for values in drawn])
    assert -4 <= logs.min() < -3.95 and -1.05 < logs.max() <= -1 and abs(logs.mean() + 2.5) < 0.15
    assert min(np.unique([values["method.num_groups"] for values in drawn], return_counts=True)[1]) > 100
    assert min(values["method.root_init_std"] for values in drawn) >= 0.01


@pytest.mark.parametrize("algorithm", [{"kind": "random"}, {"kind": "optuna"}])
def test_a_draw_knows_neither_the_order_of_keys_nor_what_was_asked_before(algorithm: dict[str, str]) -> None:
    search = search_of(space=MIXED, algorithm=algorithm)
    other = search_of(space=dict(reversed(MIXED.items())), algorithm=algorithm, num_samples=50)
    assert propose(search, 4, []) == propose(search, 4, []) != propose(search, 5, [])
    if algorithm["kind"] == "random":
        assert propose(other, 4, []) == propose(search, 4, [])
    assert propose(search_of(space=MIXED, algorithm=algorithm, seed=1), 4, []) != propose(search, 4, [])


def test_optuna_goes_where_it_was_told_it_is_good() -> None:
    search = search_of(space=MIXED, algorithm={"kind": "optuna", "startup_trials": 4}, num_samples=60)
    told: list[Observation] = []
    for number in range(40):
        values = propose(search, number, told)
        good = -abs(np.log10(values[LR]) + 2) - (values["method.num_groups"] != 2)
        state = "failed" if number % 9 == 5 else "stopped" if number % 9 == 7 else "done"
        told.append(Observation(values, state, [float(good)]))  # type: ignore[arg-type]
    early, late = told[:10], told[-10:]
    assert np.mean([o.objectives[0] for o in late]) > np.mean([o.objectives[0] for o in early]) + 0.3
    assert propose(search, 40, told) == propose(search, 40, told)
    running = [*told, Observation(propose(search, 40, told), "running", [])]
    assert propose(search, 41, running) != propose(search, 41, told)


def test_optuna_refuses_a_grid() -> None:
    with pytest.raises(ValueError, match="optuna goes through no grid; write `choice`"):
        search_of(space={LR: {"grid": [0.1]}}, algorithm={"kind": "optuna"})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seeds": [1, 1]}, "a seed twice"), ({"seeds": [1, 2], "space": {"seed": {"choice": [1]}}}, "replicates")],
)
def test_replicates_are_other_runs(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_of(**options)
