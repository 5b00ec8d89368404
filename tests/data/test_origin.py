"""Shards must be of the benchmark and the split that a configuration names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import Benchmark
from hlgp_dist.data.origin import Origin, check_origin
from hlgp_dist.errors import DataError
from hlgp_dist.train.preflight import check_fit
from tests.jobs import job

CODA = Origin("imagenet_r", "coda", None, None, True, (), {}, "0" * 64)


def named(*overrides: str) -> Benchmark:
    return resolve({"data": {"path": "x"}}, [f"benchmark.{override}" for override in overrides]).config.benchmark


def test_the_benchmark_and_the_split_that_are_named() -> None:
    check_origin(CODA, 200, named("protocol=imagenet_r-B0-Inc20", "split=coda"), "shards")
    check_origin(CODA, 200, named(), "shards")
    check_origin(None, 200, named(), "shards")


@pytest.mark.parametrize(
    ("origin", "override", "message"),
    [
        (CODA, "split=random-80-20", "benchmark.split = random-80-20: data.path = shards is divided by coda"),
        (CODA, "protocol=imagenet_a-B0-Inc20", "is of imagenet_r, not of imagenet_a"),
        (None, "protocol=imagenet_a-B0-Inc20", "was not made by `hlgp data prepare`, so nothing says what it is"),
        (None, "split=coda", "was not made by `hlgp data prepare`"),
    ],
)
def test_others_are_refused(origin: Origin | None, override: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        check_origin(origin, 200, named(override), "shards")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("origin", "num_classes", "message"),
    [
        (CODA, 100, "a part of imagenet_r, 100 of 200 classes: imagenet_r, split coda, as published"),
        (
            replace(CODA, benchmark="domainnet", domain="clipart"),
            345,
            "a part of domainnet, 345 of 345 classes: domainnet, clipart",
        ),
    ],
)
def test_a_part_of_a_benchmark_is_not_the_benchmark(origin: Origin, num_classes: int, message: str) -> None:
    sizes = {"imagenet_r": "imagenet_r-B0-Inc20", "domainnet": "domainnet-B0-Inc69"}
    with pytest.raises(DataError) as raised:
        check_origin(origin, num_classes, named(f"protocol={sizes[origin.benchmark]}"), "shards")
    assert message in str(raised.value)


def test_it_is_checked_before_anything_starts(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"benchmark.split = coda"):
        check_fit(job(drawn, tmp_path / "run", "benchmark.split=coda"))
