"""A study's cells: the configuration with values of axes and their own, without what their method has no use for."""

from __future__ import annotations

from typing import Any

import pytest

from hlgp_dist.config.cells import study_cells
from hlgp_dist.config.hlgp_options import Hlgp
from hlgp_dist.config.identity import identity, identity_hash
from hlgp_dist.config.load import cells, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import Grid
from hlgp_dist.errors import ConfigError

SPACE = {"optimizer.prompt_lr": {"grid": [0.01, 0.02]}, "optimizer.head_lr": {"grid": [0.1]}}


def study(by_name: dict[str, Any], **sections: Any) -> dict[str, RunConfig]:
    base = {"data": {"path": "x"}, "alignment": {"kind": "full", "epochs": 3}, "train": {"epochs": 7}}
    return cells(resolve(base | sections | {"study": {"cells": by_name}}).config)


def test_values_go_over_the_configuration_nested_or_dotted() -> None:
    found = study({"a": {}, "b": {"method": {"kind": "coda"}, "train.epochs": 2}, "c": {"method.num_groups": 2}})
    assert [cell.method.kind for cell in found.values()] == ["hlgp", "coda", "hlgp"]
    assert [cell.train.epochs for cell in found.values()] == [7, 2, 7]
    assert all(cell.study is None and cell.alignment.kind == "full" for cell in found.values())


def test_what_a_method_has_no_use_for_is_left_out() -> None:
    found = study(
        {"ncm": {"method.kind": "ncm"}, "linear": {"method.kind": "linear"}},
        search={"space": SPACE, "num_samples": 1},
        optimizer={"kind": "sgd", "prompt_lr": 0.5, "head_lr": 0.3},
    )
    ncm, linear = found["ncm"], found["linear"]
    assert (ncm.alignment.kind, ncm.train.epochs, ncm.optimizer.kind, ncm.search) == ("none", 20, "adam", None)
    assert (linear.alignment.kind, linear.train.epochs, linear.optimizer.kind) == ("full", 7, "sgd")
    assert (linear.optimizer.prompt_lr, linear.optimizer.head_lr) == (0.003, 0.3)
    assert linear.search is not None and linear.search.space == {"optimizer.head_lr": Grid(grid=(0.1,))}


def test_a_cell_may_search_otherwise_or_not_at_all() -> None:
    own = {"search.space": {"optimizer.head_lr": {"grid": [0.3]}}}
    found = study({"a": own, "b": {"search": None}}, search={"space": SPACE, "num_samples": 1})
    assert found["a"].search is not None and list(found["a"].search.space) == ["optimizer.head_lr"]
    assert found["b"].search is None


@pytest.mark.parametrize(
    ("by_name", "message"),
    [
        ({"a": {"method.kind": "ncm", "train.epochs": 3}}, "study.cells.a: train.epochs = 3: has no effect"),
        ({"a": {"method.num_grops": 3}}, "study.cells.a: method.num_grops = 3: unknown key of method with kind hlgp"),
        ({"a": {"seed": 3}}, "study.cells.a: seed is the study's to decide"),
        ({"a": {"run": {"name": "z"}}}, "study.cells.a: run.name is the study's to decide"),
        ({"a b": {}}, "'a b' must be a folder's name"),
        ({"a": 3}, "study.cells.a = 3: must be a mapping"),
        ({}, "study.cells = {}"),
    ],
)
def test_refused(by_name: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        study(by_name)
    assert message in str(raised.value)


def test_all_that_is_wrong_with_any_cell_is_told() -> None:
    with pytest.raises(ConfigError) as raised:
        study({"a": {"method.kind": "hlpg"}, "b": {"alignment.kind": "ful"}, "c": {}})
    assert "2 of 3 cells are not valid" in str(raised.value)
    assert "study.cells.a: method.kind = hlpg" in str(raised.value)
    assert "study.cells.b: alignment.kind = ful" in str(raised.value)


def test_only_cells_that_there_are() -> None:
    with pytest.raises(ConfigError, match="only: there is no cell b; there are a"):
        resolve({"data": {"path": "x"}, "study": {"cells": {"a": {}}}}, ["study.only=[b]"])


def test_seeds_are_named_once() -> None:
    with pytest.raises(ConfigError, match=r"study.seeds = \[1, 1\]: seeds names a seed twice"):
        resolve({"data": {"path": "x"}, "study": {"seeds": [1, 1], "cells": {"a": {}}}})


METHODS = {"hlgp": {"method.kind": "hlgp"}, "linear": {"method": {"kind": "linear"}}}
SIZES = {"s": {"backbone.name": "vit_small_patch16_224"}, "b": {"launch.num_workers": 4}}


def crossed(axes: dict[str, Any], **rest: Any) -> RunConfig:
    """A study by axes."""
    return resolve({"data": {"path": "x"}, "study": {"axes": axes, **rest}}).config


def test_every_combination_of_the_axes_is_a_cell() -> None:
    config = crossed({"backbone": SIZES, "method": METHODS})
    found = cells(config)
    assert list(found) == ["s-hlgp", "s-linear", "b-hlgp", "b-linear"]
    assert [cell.method.kind for cell in found.values()] == ["hlgp", "linear"] * 2
    assert [cell.backbone.name[:9] for cell in found.values()] == ["vit_small"] * 2 + ["vit_base_"] * 2
    assert [cell.launch.num_workers for cell in found.values()] == [1, 1, 4, 4]
    assert config.study is not None
    assert config.study.choices()["b-linear"] == {"backbone": "b", "method": "linear"}


def test_cells_stand_beside_combinations_or_add_to_them() -> None:
    own = {"ncm": {"method.kind": "ncm"}, "b-hlgp": {"method.num_groups": 2, "launch.num_workers": 8}}
    config = crossed({"backbone": SIZES, "method": METHODS}, skip=["s-*"], cells=own, only=["*-linear", "ncm"])
    found = cells(config)
    assert list(found) == ["b-hlgp", "b-linear", "ncm"]
    hlgp = found["b-hlgp"]
    assert isinstance(hlgp.method, Hlgp)
    assert (hlgp.method.num_groups, hlgp.launch.num_workers, found["b-linear"].launch.num_workers) == (2, 8, 4)
    assert config.study is not None and config.study.chosen() == ["b-linear", "ncm"]
    assert [config.study.place_of(name) for name in ("ncm", "b-linear")] == [
        "study.cells.ncm",
        "study.axes, cell b-linear",
    ]


def test_an_option_of_a_kind_may_stand_on_an_axis_before_the_kind() -> None:
    kinds = {"adam": {"optimizer.kind": "adam"}, "sgd": {"optimizer": {"kind": "sgd"}}}
    rates = {"slow": {"optimizer.prompt_lr": 0.1}, "fast": {"optimizer": {"prompt_lr": 0.2}}}
    found = cells(crossed({"rate": rates, "optimizer": kinds}))
    assert {name: (cell.optimizer.kind, cell.optimizer.prompt_lr) for name, cell in found.items()} == {
        "slow-adam": ("adam", 0.1),
        "slow-sgd": ("sgd", 0.1),
        "fast-adam": ("adam", 0.2),
        "fast-sgd": ("sgd", 0.2),
    }


def test_each_choice_may_have_a_search_budget_of_its_own() -> None:
    budgets = {"few": {"search.num_samples": 2}, "many": {"search": {"num_samples": 9}}, "none": {"search": None}}
    base = {"data": {"path": "x"}, "search": {"space": SPACE | {"seed": {"choice": [1]}}}}
    found = cells(resolve(base | {"study": {"axes": {"budget": budgets}}}).config)
    assert [cell.search and cell.search.num_samples for cell in found.values()] == [2, 9, None]


def test_where_a_cell_runs_is_no_part_of_what_it_is() -> None:
    where = {"here": {"launch.num_workers": 1}, "there": {"launch": {"kind": "ray", "num_workers": 4}}}
    here, there = cells(crossed({"where": where})).values()
    assert identity_hash(here) == identity_hash(there)


@pytest.mark.parametrize("key", ["data.path", "data.train_fraction", "benchmark.increment", "method.prompt_length"])
def test_what_a_scaling_study_varies(key: str) -> None:
    values = {"data.path": ("a", "b")}.get(key, (0.5, 1.0) if key == "data.train_fraction" else (5, 20))
    found = cells(crossed({"axis": {"one": {key: values[0]}, "two": {key: values[1]}}}))
    assert tuple(identity(cell)[key] for cell in found.values()) == values


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (
            {"axes": {"a": {"x": {"backbone.img_siz": 3}}, "b": {"y": {}, "z": {}}}},
            "study.axes.a.x: backbone.img_siz = 3: unknown key of backbone; did you mean img_size? (cells x-y, x-z)",
        ),
        (
            {"axes": {"e": {"long": {"train.epochs": 3}}, "m": {"ncm": {"method.kind": "ncm"}, "hlgp": {}}}},
            "1 of 2 cells are not valid:\n  study.axes.e.long: train.epochs = 3: has no effect",
        ),
        (
            {"axes": {"a": {"x": {"train.epochs": 3}}, "b": {"y": {"train": {"epochs": 4}}}}},
            "study.axes.a.x and study.axes.b.y both set train.epochs (cell x-y)",
        ),
        (
            {"axes": {"a": {"x": {"backbone.kwargs.depth": 3}}, "b": {"y": {"backbone": {"kwargs": {"depth": 3}}}}}},
            "study.axes.a.x and study.axes.b.y both set backbone.kwargs.depth",
        ),
        (
            {"axes": {"a": {"x": {"backbone": {"kwargs": {"depth": 3}}}}, "b": {"y": {"backbone": {"kwargs": {}}}}}},
            "study.axes.a.x and study.axes.b.y both set backbone.kwargs.depth",
        ),
        (
            {"axes": {"a": {"x": {"method.kind": "l2p"}}, "b": {"y": {"method": {"kind": "coda"}}}}},
            "study.axes.a.x and study.axes.b.y both set method.kind",
        ),
        ({"axes": {"a": {"x": {"seed": 3}}}}, "study.axes.a.x: seed is the study's to decide"),
        ({"axes": {"a": {"x": 3}}}, "study.axes.a.x = 3: must be a mapping"),
        ({"axes": {"a": 3}}, "study.axes.a = 3: must be a mapping"),
        ({"axes": {"a": {}}}, "axes.a has no choice"),
        ({"axes": {"a b": {"x": {}}}}, "axes: 'a b' must be a folder's name"),
        ({"axes": {"a": {".x": {}}}}, "axes.a: '.x' must be a folder's name"),
        ({"axes": {"a": {"x-y": {}, "x": {}}, "b": {"z": {}, "y-z": {}}}}, "two combinations have one name"),
        ({"axes": {"a.b": {"x": {}}, "a-b": {"y": {}}}}, "axes: a.b and a-b are too like, one as a figure's name"),
        ({"axes": {"a": {"x": {}, "X": {}}}}, "cells: x and X are too like, one as a folder on some machines"),
        ({"axes": {"a": {"x": {}}}, "skip": ["y*"]}, "skip: there is no combination y*; there are x"),
        ({"axes": {"a": {"x": {}}}, "only": ["y*"]}, "only: there is no cell y*; there are x"),
        ({"axes": {"a": {"x": {}}}, "skip": ["*"]}, "study.cells: cells: there is none"),
        (
            {"axes": {"a": {"x": {}, "y": {}}}, "skip": ["x"], "cells": {"x": {}}},
            "cells: x is the name of a combination",
        ),
        ({"cells": {"a": {}}, "skip": ["a"]}, "skip: there is no combination a; there are none"),
    ],
)
def test_axes_that_are_refused(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve({"data": {"path": "x"}, "study": study})
    assert message in str(raised.value)


def test_what_is_wrong_with_the_base_in_many_cells_is_told_once() -> None:
    with pytest.raises(ConfigError) as raised:
        crossed({"a": {"x": {"engine.zero_stage": 3}}, "b": {"y": {"engine.compile": True}, "z": {}}})
    assert str(raised.value).count("engine.zero_stage") == 1


def test_the_cells_of_a_file_without_its_schema() -> None:
    """As who draws a study's results reads it, whatever else the section says."""
    document = {
        "axes": {"size": {"s": {}, "b": {}}, "method": {"hlgp": {}, "ncm": {}}},
        "skip": ["b-ncm"],
        "seeds": [1],
    }
    assert study_cells(document | {"cells": {"alone": {}, "s-ncm": {}}}) == {
        "s-hlgp": {"size": "s", "method": "hlgp"},
        "s-ncm": {"size": "s", "method": "ncm"},
        "b-hlgp": {"size": "b", "method": "hlgp"},
        "alone": {},
    }
    assert study_cells({}) == study_cells({"cells": ["a"], "axes": 3}) == study_cells({"axes": {"size": ["s"]}}) == {}


@pytest.mark.parametrize(
    ("override", "depths"),
    [
        ("study.axes.blocks.d6={backbone.kwargs.depth: 5}", {"d9.x": 9, "d6": 5}),
        ("study.axes.blocks.d6.backbone.kwargs.depth=5", {"d9.x": 9, "d6": 5}),
        ("study.axes.blocks.d9.x.backbone.kwargs.depth=5", {"d9.x": 5, "d6": 6}),
        ("study.axes.blocks.d3={backbone.kwargs.depth: 3}", {"d9.x": 9, "d6": 6, "d3": 3}),
        ("study.cells.extra.backbone.kwargs.depth=5", {"d9.x": 9, "d6": 6, "extra": 5}),
        ("study.cells.extra={backbone.kwargs.depth: 5}", {"d9.x": 9, "d6": 6, "extra": 5}),
    ],
)
def test_a_choice_and_a_cell_may_be_given_behind_the_command(override: str, depths: dict[str, int]) -> None:
    axes = {"blocks": {"d6": {"backbone.kwargs.depth": 6}, "d9.x": {"backbone.kwargs.depth": 9}}}
    backbone = {"name": "vit_tiny_patch16_224", "kwargs": {"depth": 12}}
    config = resolve({"data": {"path": "x"}, "backbone": backbone, "study": {"axes": axes}}, [override]).config
    assert {name: cell.backbone.kwargs["depth"] for name, cell in cells(config).items()} == depths
