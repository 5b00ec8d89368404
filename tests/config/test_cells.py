"""A study's cells: the configuration with values of their own, and without what their method has no use for."""

from __future__ import annotations

from typing import Any

import pytest

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
