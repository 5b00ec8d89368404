"""Search spaces: keys, bounds, samples, searched kinds and combinations."""

from __future__ import annotations

from typing import Any

import pytest

from hlgp_dist.config.load import resolve
from hlgp_dist.errors import ConfigError


def with_space(space: dict[str, Any], *overrides: str, **sections: Any) -> Any:
    return resolve({"data": {"path": "x"}, "search": {"space": space}, **sections}, overrides).config


def test_what_only_trials_have_may_be_said_of_a_search() -> None:
    """A search runs on Ray, whatever `launch.kind` says of runs."""
    overrides = ("launch.driver_resource=driver", "launch.address=auto", "launch.cpus_per_worker=2")
    config = with_space({"optimizer.prompt_lr": {"grid": [0.1]}}, "search.num_samples=1", *overrides)
    assert config.launch.driver_resource == "driver"


HLGP_OR_LINEAR = {"method.kind": {"choice": ["hlgp", "linear"]}}


@pytest.mark.parametrize(
    ("key", "domain", "rule"),
    [
        (
            "optimizer.prompt_lr",
            {"loguniform": [0.1, 0.01]},
            ": the lower bound 0.1 must be below the upper bound 0.01",
        ),
        ("optimizer.prompt_lr", {"uniform": [0.1, 0.1]}, ": the lower bound 0.1 must be below"),
        (
            "optimizer.prompt_lr",
            {"loguniform": [0, 1]},
            " = {loguniform: [0, 1]}: loguniform[0] must be greater than 0",
        ),
        (
            "optimizer.prompt_lr",
            {"choices": [1]},
            " = {choices: [1]}: must be one of {choice: [...]}, {uniform: [...]}",
        ),
        ("optimizer.prompt_lr", {"choice": []}, " = {choice: []}: choice"),
        ("optimizer.prompt_lr", 3, " = 3: must be one of"),
        (
            "optimizer.prompt_rl",
            {"choice": [1]},
            " = 1: unknown key of optimizer with kind adam; did you mean prompt_lr?",
        ),
        ("method.num_groups", {"uniform": [1, 3]}, " = 1.0: must be a whole number"),
        ("method.num_groups", {"choice": [2, 0]}, " = 0: must be greater than 0"),
        ("method.kind", {"grid": ["hlgp", "l3p"]}, " = l3p: must be one of hlgp,"),
        ("run.dir", {"choice": ["a"]}, ": cannot be searched: it is operational"),
        ("engine.zero_stage", {"choice": [1]}, ": cannot be searched: it is operational"),
        ("data.path", {"choice": ["a"]}, ": cannot be searched"),
        ("data.train_fraction", {"choice": [0.5]}, ": cannot be searched: trials that are compared"),
        ("benchmark.validation_fraction", {"choice": [0.0]}, ": cannot be searched: trials that are compared"),
        ("evaluation.old_task_fraction", {"choice": [0.1, 0.2]}, ": cannot be searched: trials that are compared"),
        ("data.kind", {"choice": ["synthetic"]}, ": cannot be searched: trials that are compared"),
        ("search.seed", {"choice": [1]}, ": cannot be searched"),
        ("train", {"choice": [1]}, " = 1: must be a section"),
    ],
)
def test_refused(key: str, domain: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        with_space({key: domain})
    assert f"search.space.{key}{rule}" in str(raised.value)


def test_a_key_has_to_fit_every_searched_kind() -> None:
    with pytest.raises(
        ConfigError, match=r"num_groups = 2: unknown key .*; kind hlgp has it \(with method.kind=linear\)"
    ):
        with_space({**HLGP_OR_LINEAR, "method.num_groups": {"choice": [2]}})
    with pytest.raises(ConfigError, match=r"prompt_lr=0.1 is no valid trial: optimizer.prompt_lr = 0.1: has no effect"):
        with_space({**HLGP_OR_LINEAR, "optimizer.prompt_lr": {"choice": [0.1]}})


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        with_space(
            {"seeds": {"choice": [1]}, "method.num_groups": {"choice": [0, -1]}, "train.epochs": {"choice": [3]}}
        )
    assert len(str(raised.value).splitlines()) == 1 + 3


def test_samples_may_fit_only_together() -> None:
    space = {"method.matching.kind": {"choice": ["auxiliary"]}, "method.train_mixture": {"choice": ["current"]}}
    assert with_space(space).search.space.keys() == space.keys()
    with pytest.raises(ConfigError, match="is no valid trial"):
        with_space({**space, "method.accumulation": {"grid": ["soft", "mean"]}})


def test_a_large_space_is_checked_in_part() -> None:
    space = {f"backbone.kwargs.a{index}": {"choice": list(range(9))} for index in range(12)}
    assert len(with_space(space).search.space) == 12


def test_a_space_key_is_overridden_as_a_whole() -> None:
    config = with_space(
        {"optimizer.prompt_lr": {"choice": [0.1]}}, "search.space.optimizer.prompt_lr={loguniform: [1e-3, 1e-1]}"
    )
    assert config.search.space["optimizer.prompt_lr"].loguniform == (1e-3, 1e-1)


def test_a_search_has_one_validation_fraction() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.validation_fraction = 0\.1: has no effect"):
        with_space({"seed": {"choice": [1]}}, "benchmark.validation_fraction=0.1")


def test_a_space_of_grids_runs_each_point_once() -> None:
    space = {"optimizer.prompt_lr": {"grid": [0.1, 0.2]}}
    with pytest.raises(ConfigError, match=r"search\.num_samples = 8: must be 1 where all of search\.space is grid"):
        with_space(space)
    assert with_space(space, "search.num_samples=1").search.num_samples == 1
    assert with_space(space | {"seed": {"choice": [1, 2]}}).search.num_samples == 8


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (("evaluation.old_task_fraction=0.5",), "in a search search.old_task_fraction decides"),
        (("search.old_task_fraction=0.5", "train.stream=joint"), "search.old_task_fraction = 0.5: has no effect"),
        (("search.old_task_fraction=1",), "search.old_task_fraction = 1: must be less than 1"),
    ],
)
def test_how_much_of_earlier_tasks_is_tested_is_said_where_it_counts(overrides: tuple[str, ...], rule: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        with_space({"optimizer.prompt_lr": {"choice": [0.1, 0.2]}}, *overrides)
    assert rule in str(refusal.value)
