"""Relative paths, wherever they stand in a configuration, lie in what all hosts share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.identity import place_of
from hlgp_dist.config.load import cells, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.shared import Shared
from hlgp_dist.errors import ConfigError

SHARED = Shared("/shared", Path("/nowhere"))
WEIGHTS = {"backbone.weights": {"choice": ["a.safetensors", "/b.safetensors", "none"]}}


def placed(shared: Shared | None, **sections: Any) -> RunConfig:
    return resolve({"data": {"path": "shards/x"}} | sections, (), shared).config


def test_the_base_its_defaults_and_overrides() -> None:
    resolved = resolve({"data": {"path": "s3://bucket/x"}}, ["backbone.weights=w.safetensors"], SHARED)
    assert resolved.config.run.dir == "/shared/runs" and resolved.origins["run.dir"] == "default"
    assert resolved.config.data.path == "s3://bucket/x"
    assert resolved.config.backbone.weights == "/shared/w.safetensors"
    assert placed(SHARED).backbone.weights == "hub"
    assert placed(SHARED, run={}).run.dir == "/shared/runs"
    with pytest.raises(ConfigError, match="run = 3: must be a section"):
        placed(SHARED, run=3)
    assert placed(None).data.path == "shards/x", "as this process sees it"


def test_a_study_of_two_weight_files_and_a_search_over_some() -> None:
    search = {"space": WEIGHTS, "num_samples": 3}
    by_name = {
        "a": {"backbone.weights": "a.safetensors"},
        "b": {"backbone": {"weights": "b.safetensors"}},
        "c": {"search": search, "data.path": "shards/y"},
    }
    found = cells(placed(SHARED, study={"cells": by_name}))
    assert [found[name].backbone.weights for name in "ab"] == ["/shared/a.safetensors", "/shared/b.safetensors"]
    assert [cell.data.path for cell in found.values()] == [*2 * ["/shared/shards/x"], "/shared/shards/y"]
    for searched in (found["c"].search, placed(SHARED, search=search).search):
        assert searched is not None
        domain = searched.space["backbone.weights"].model_dump(mode="json")
        assert domain == {"choice": ["/shared/a.safetensors", "/b.safetensors", "none"]}


def test_a_study_over_benchmarks() -> None:
    axes = {"data": {"x": {}, "path": {"data.path": "shards/y"}}, "run": {"dir": {}}}
    found = cells(placed(SHARED, study={"axes": axes}))
    assert {name: cell.data.path for name, cell in found.items()} == {
        "x-dir": "/shared/shards/x",
        "path-dir": "/shared/shards/y",
    }


def test_what_is_shared_may_be_a_bucket() -> None:
    config = placed(Shared("s3://bucket/hlgp/", Path("/nowhere")), run={"name": "first"})
    assert config.data.path == "s3://bucket/hlgp/shards/x"
    assert place_of(config, "x") == "s3://bucket/hlgp/runs/first"


def test_weights_that_came_with_the_project(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").touch()
    shared = Shared("/shared", tmp_path)
    assert placed(shared, backbone={"weights": "own.safetensors"}).backbone.weights == f"{tmp_path}/own.safetensors"
    assert placed(shared, backbone={"weights": "other.safetensors"}).backbone.weights == "/shared/other.safetensors"


def test_where_nothing_is_shared_paths_are_absolute() -> None:
    nothing = Shared("", Path("/nowhere"))
    with pytest.raises(ConfigError, match=r"(?s)data\.path = shards/x: must be absolute.*run\.dir = runs: must be"):
        placed(nothing)
    assert placed(nothing, data={"path": "/x"}, run={"dir": "/runs"}).data.path == "/x"


@pytest.mark.parametrize("shared", [None, SHARED])
@pytest.mark.parametrize("key", ["run.dir", "data.path", "data.cache_dir", "backbone.weights"])
def test_a_home_is_no_place_that_hosts_share(key: str, shared: Shared | None) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(key)} = ~/x: must be written out, without ~"):
        resolve({"data": {"path": "shards/x"}}, [f"{key}=~/x"], shared)


def test_a_study_s_folder_stays_when_it_gets_a_cell_more() -> None:
    folders = {
        place_of(placed(SHARED, study={"cells": given}), "study")
        for given in ({"a": {}}, {"a": {}, "b": {"method.kind": "linear"}})
    }
    assert len(folders) == 1 and folders.pop().startswith("/shared/runs/study-")
