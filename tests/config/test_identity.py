"""Roles, hashes, names and the refusal of a changed identity."""

from __future__ import annotations

import pytest

from hlgp_dist.config.identity import ABSENT, difference, identity, identity_hash, refuse_changed_identity, run_name
from hlgp_dist.config.load import apply, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError


@pytest.fixture
def config() -> RunConfig:
    return resolve({"data": {"path": "x"}}).config


def test_operational_values_do_not_count(config: RunConfig) -> None:
    moved = apply(
        config,
        {
            "run.dir": "a",
            "launch.num_workers": 4,
            "engine.micro_batch_size": 2,
            "engine.zero_stage": 2,
            "telemetry.progress": False,
        },
    )
    assert identity_hash(moved) == identity_hash(config)
    assert (
        identity(config)
        .keys()
        .isdisjoint({"run.dir", "run.resume", "launch.kind", "engine.zero_stage", "checkpoint.keep"})
    )
    assert {"seed", "engine.precision", "method.kind", "method.generator.rank"} <= identity(config).keys()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"method.generator.rank": 8},
        {"engine.precision": "fp32"},
        {"data.augmentation": None},
        {"backbone.kwargs.depth": 2},
    ],
)
def test_identity_values_count(config: RunConfig, change: dict[str, object]) -> None:
    assert identity_hash(apply(config, change)) != identity_hash(config)


def test_a_number_counts_by_its_value_not_by_its_spelling() -> None:
    spellings = [
        resolve({"data": {"path": "x"}}, [f"optimizer.prompt_lr={text}"]).config for text in ("1", "1.0", "1e0")
    ]
    assert len({identity_hash(config) for config in spellings}) == 1


def test_a_search_counts_only_for_a_search() -> None:
    search = {"space": {"optimizer.prompt_lr": {"choice": [0.1]}}}
    run, searched = resolve({"data": {"path": "x"}}).config, resolve({"data": {"path": "x"}, "search": search}).config
    assert identity_hash(run) == identity_hash(searched)
    assert identity_hash(run, include_search=True) != identity_hash(searched, include_search=True)
    more = apply(searched, {"search.num_samples": 9, "search.max_concurrent_trials": 2})
    assert set(difference(searched, more, include_search=True).identity) == {"search.num_samples"}
    assert difference(searched, more).identity == {}


def test_names_hold_no_time(config: RunConfig) -> None:
    name = run_name(config, "digits")
    assert name == run_name(config, "digits") == f"digits-{identity_hash(config)[:8]}"
    assert run_name(apply(config, {"run.name": "mine"}), "digits") == "mine"


def test_a_difference_is_by_role(config: RunConfig) -> None:
    changed = difference(config, apply(config, {"method.kind": "linear", "seed": 2, "launch.num_workers": 4}))
    assert changed.operational == {"launch.num_workers": (1, 4)}
    assert changed.identity["seed"] == (0, 2)
    assert changed.identity["method.kind"] == ("hlgp", "linear")
    assert changed.identity["method.num_groups"] == (3, ABSENT)


def test_a_changed_identity_is_refused_and_shown(config: RunConfig) -> None:
    with pytest.raises(ConfigError) as raised:
        refuse_changed_identity(config, apply(config, {"seed": 2, "optimizer.head_lr": 0.1, "run.dir": "b"}))
    assert str(raised.value).splitlines()[1:] == ["  seed: 0 -> 2", "  optimizer.head_lr: 0.003 -> 0.1"]
    assert refuse_changed_identity(config, apply(config, {"run.dir": "b"})).operational == {"run.dir": ("runs", "b")}
