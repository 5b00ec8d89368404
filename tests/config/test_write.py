"""What is written is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.hlgp_options import Hlgp, Independent
from hlgp_dist.config.load import resolve
from hlgp_dist.config.options import default_kind, field_at, kinds
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import COMMENT_COLUMN, dump, render

Nested = dict[str, Any]

RICH = {
    "data": {"path": "no", "augmentation": None},
    "run": {"name": "1e3"},
    "benchmark": {"class_order_seed": 1993, "class_order": ["1", "no", "a: b", "é"]},
    "backbone": {"kwargs": {"depth": 3, "a.b": "1e-3", "c": None, "d": True, "e": 1e-9}},
    "search": {"space": {"optimizer.prompt_lr": {"loguniform": [1e-3, 1e-1]}, "seed": {"grid": [1, 2]}}},
}


def every_kind(section: Any = RunConfig, wrap: Callable[[Nested], Nested] = dict) -> Iterator[Nested]:
    """A configuration for each kind of each tagged union, at any depth."""
    for name, field in section.model_fields.items():
        for tag, choice in kinds(field).items():
            yield wrap({name: {"kind": tag}})
            yield from every_kind(choice, lambda inner, at=(name, tag): wrap({at[0]: {"kind": at[1], **inner}}))  # type: ignore[misc]


@pytest.mark.parametrize("kind", list(every_kind()), ids=str)
def test_every_kind_is_read_back(kind: dict[str, Any], tmp_path: Path) -> None:
    method = kind.get("method", {})
    if method.get("matching", {}).get("kind") in ("auxiliary", "prototype"):
        method["train_mixture"] = "current"
    data = kind.get("data", {"kind": "shards"})
    config = resolve({**kind, "data": data | ({"path": "x"} if data["kind"] == "shards" else {})}).config
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert resolve(path).config == config


def test_every_method_of_the_schema_is_among_them() -> None:
    seen = {str(kind) for kind in every_kind()}
    assert {str({"method": {"kind": tag}}) for tag in kinds(RunConfig.model_fields["method"])} <= seen
    assert {"generator", "position", "matching"} <= Hlgp.model_fields.keys()
    assert str({"method": {"kind": "independent", "matching": {"kind": "auxiliary"}}}) in seen
    assert "matching" in Independent.model_fields


def test_awkward_values_are_read_back(tmp_path: Path) -> None:
    config = resolve({key: value for key, value in RICH.items() if key != "benchmark"}).config
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    again = resolve(path)
    assert again.config == config
    assert render(again).count(str(path)) == len(again.origins)


def test_render_shows_each_origin_and_the_notes() -> None:
    resolved = resolve(
        {"data": {"path": "x"}, "method": {"num_groups": 4}}, ["method.kind=linear", "backbone.kwargs.depth=3"]
    )
    lines = render(resolved).splitlines()
    assert lines[0].startswith("# note: method.kind = linear (override) drops method.num_groups = 4 (given)")
    comments = {line.split("#")[0].strip(): line.split("# ")[1] for line in lines[1:] if "#" in line}
    assert comments["path: x"] == "given"
    assert comments["depth: 3"] == "override"
    assert comments["seed: 0"] == "default"
    columns = {line.index("#") for line in lines[1:] if "#" in line and len(line) < 2 * COMMENT_COLUMN}
    assert len(columns) == 1


def test_default_kinds_are_found() -> None:
    field = field_at(("method", "generator"), {})
    assert field is not None
    assert default_kind(field) == "bottleneck"
