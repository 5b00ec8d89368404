"""The configurations that ship: every cell of every one, and what it stands for.

`python tests/config/test_presets.py` writes presets.txt anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.benchmarks.catalogue import CATALOGUE
from hlgp_dist.config.grammar import flow
from hlgp_dist.config.identity import identity
from hlgp_dist.config.load import apply, cells, resolve
from hlgp_dist.config.protocols import CLASSES, settings_of
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).with_name("presets.txt")
STUDIES = (
    "ablation",
    *(name for name in CLASSES if name != "vtab_rebuild"),
    *("emoji34_comparison", "emoji34_ablation"),
    *("studies/backbone_scaling", "studies/digits_scaling"),
)


def told() -> str:
    """What each study says, and of each cell what it changes of that."""
    lines: list[str] = []
    for name in STUDIES:
        base = resolve(CONFIGS / f"{name}.yaml").config
        lines += [f"{name}", *changes(resolve({"data": {"path": "x"}}).config, base)]
        for cell, config in cells(base).items():
            lines += [f"  {cell}", *(f"  {line}" for line in changes(base, config))]
    return "".join(f"{line}\n" for line in lines)


def changes(old: RunConfig, new: RunConfig) -> list[str]:
    before, after = identity(old, include_search=True), identity(new, include_search=True)
    return [f"  {key}: {flow(value)}" for key, value in after.items() if key not in before or before[key] != value]


def test_the_presets_are_what_they_were() -> None:
    assert told() == GOLDEN.read_text()


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_that_ships_is_valid_and_keeps_all_it_says(file: Path, tmp_path: Path) -> None:
    config = resolve(file).config
    (tmp_path / "dumped.yaml").write_text(dump(config))
    assert resolve(tmp_path / "dumped.yaml").config == config


@pytest.mark.parametrize(
    ("name", "init_cls", "increment", "seed", "shuffle"),
    [
        ("cifar100-B0-Inc10", 10, 10, 1993, "numpy"),
        ("cifar100-B50-Inc5", 50, 5, 1993, "numpy"),
        ("imagenet_r-B0-Inc20-coda3", 20, 20, 3, "python"),
        ("vtab-B0-Inc10", 10, 10, None, "numpy"),
    ],
)
def test_a_protocol_gives_sizes_and_order(name: str, init_cls: int, increment: int, seed: int, shuffle: str) -> None:
    resolved = resolve({"data": {"path": "x"}}, [f"benchmark.protocol={name}"])
    benchmark = resolved.config.benchmark
    assert (benchmark.init_cls, benchmark.increment) == (init_cls, increment)
    assert (benchmark.class_order_seed, benchmark.class_order_shuffle) == (seed, shuffle)
    assert resolved.origins["benchmark.increment"] == f"protocol {name}"
    again = apply(resolved.config, {"seed": 3})
    assert again.benchmark == benchmark


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["benchmark.increment=20"], "increment must be 10: protocol cifar100-B0-Inc10 says so"),
        (["benchmark.class_order_seed=1"], "class_order_seed must be 1993"),
        (["benchmark.class_order_seed=null"], "class_order_seed must be 1993"),
        (["benchmark.max_tasks=2"], "max_tasks must be null"),
        (["benchmark.class_order=[a, b]"], "class_order must be null"),
        (["benchmark.protocol=cifar100"], "is not of the form BENCHMARK-Bn-Inck"),
        (["benchmark.protocol=cifar10-B0-Inc10"], "no benchmark cifar10; did you mean cifar100?"),
        (["benchmark.protocol=cifar100-B0-Inc0"], "cifar100 has 100 classes to be divided"),
        (["benchmark.protocol=cifar100-B101-Inc1"], "cifar100 has 100 classes to be divided"),
        (["benchmark.protocol=vtab-B0-Inc10-coda1"], "the classes of vtab are never shuffled"),
    ],
)
def test_what_contradicts_a_protocol_is_refused(overrides: list[str], message: str) -> None:
    values: dict[str, Any] = {"data": {"path": "x"}, "benchmark": {"protocol": "cifar100-B0-Inc10"}}
    with pytest.raises(ConfigError) as raised:
        resolve(values, overrides)
    assert message in str(raised.value)


def test_without_its_name_a_protocol_leaves_its_sizes() -> None:
    values: dict[str, Any] = {"data": {"path": "x"}, "benchmark": {"protocol": "vtab-B0-Inc5"}}
    benchmark = resolve(values, ["benchmark.protocol=null", "benchmark.max_tasks=2"]).config.benchmark
    assert (benchmark.init_cls, benchmark.increment, benchmark.class_order_seed) == (5, 5, None)
    assert resolve(values, ["benchmark.protocol=cifar100-B0-Inc20"]).config.benchmark.increment == 20


def test_a_cell_may_name_another_protocol() -> None:
    other = {"benchmark.protocol": "cifar100-B0-Inc5"}
    values = {"data": {"path": "x"}, "benchmark": {"protocol": "cifar100-B0-Inc10"}, "study": {"cells": {"a": other}}}
    assert cells(resolve(values).config)["a"].benchmark.increment == 5


def test_the_classes_are_those_of_the_catalogue() -> None:
    counts = {name: {one.classes for one in CATALOGUE[name].expected.values()} for name in CLASSES}
    assert counts == {name: {number} for name, number in CLASSES.items()}
    assert settings_of("domainnet-B0-Inc69")["init_cls"] == 69


if __name__ == "__main__":
    GOLDEN.write_text(told())
