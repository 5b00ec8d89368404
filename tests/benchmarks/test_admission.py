"""Shards must be of the benchmark and the split that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hlgp_dist.benchmarks.admission import check_origin
from hlgp_dist.benchmarks.lists import PACKAGED_LISTS, packaged_list
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import Benchmark
from hlgp_dist.data.manifest import SPLITS, Manifest, Split
from hlgp_dist.data.origin import Origin
from hlgp_dist.data.record import Names
from hlgp_dist.errors import DataError
from hlgp_dist.train.preflight import check_fit
from tests.jobs import job

CODA = Origin("imagenet_r", "coda", None, None, (), (), {})
VTAB = Origin("vtab", "published", None, None, (), ("the archive holds 50 training pictures, not 1,796",), {})
LISTED = sorted(packaged_list(PACKAGED_LISTS["coda"]))
PROTOCOLS = {"imagenet_r": "imagenet_r-B0-Inc20", "domainnet": "domainnet-B0-Inc69"}


def named(*overrides: str) -> Benchmark:
    return resolve({"data": {"path": "x"}}, [f"benchmark.{override}" for override in overrides]).config.benchmark


def manifest(origin: Origin | None, num_classes: int = 200, test: Sequence[str] = LISTED) -> Manifest:
    """Of so many classes and of test pictures CLASS/STEM, as far as `check_origin` looks at it."""
    places = [place.split("/") for place in test]
    keys = [Names("test", name, f"{stem}.jpg").key for name, stem in places]
    none, long = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.int64)
    split = Split((), np.array(keys, np.bytes_), none, none, long, long, none, none, np.zeros(len(keys), "S16"), long)
    classes = tuple(f"{number:03d}" for number in range(num_classes))
    return Manifest(classes, dict.fromkeys(SPLITS, split), "", 0, "", origin=origin)


def refusal(shards: Manifest, *overrides: str) -> str:
    with pytest.raises(DataError) as raised:
        check_origin(shards, named(*overrides), "shards")
    return str(raised.value)


def test_the_benchmark_and_the_split_that_are_named() -> None:
    check_origin(manifest(CODA), named("protocol=imagenet_r-B0-Inc20", "split=coda"), "shards")
    check_origin(manifest(CODA), named(), "shards")
    check_origin(manifest(None), named(), "shards")


@pytest.mark.parametrize(
    ("origin", "override", "message"),
    [
        (
            CODA,
            "split=random-80-20",
            "benchmark.split = random-80-20: data.path = shards is divided by coda: "
            "prepare it with --split random-80-20; or set benchmark.split=null",
        ),
        (CODA, "protocol=imagenet_a-B0-Inc20", "is of imagenet_r, not of imagenet_a: prepare imagenet_a"),
        (None, "protocol=imagenet_a-B0-Inc20", "was not made by `hlgp data prepare`, so nothing says what it is"),
        (None, "split=coda", "was not made by `hlgp data prepare`"),
    ],
)
def test_others_are_refused(origin: Origin | None, override: str, message: str) -> None:
    assert message in refusal(manifest(origin), override)


@pytest.mark.parametrize(
    ("origin", "num_classes", "message"),
    [
        (CODA, 100, "a part of imagenet_r, 100 of 200 classes (imagenet_r, split coda, as published)"),
        (
            replace(CODA, benchmark="domainnet", domain="clipart"),
            345,
            "a part of domainnet, 345 of 345 classes (domainnet, clipart",
        ),
    ],
)
def test_a_part_of_a_benchmark_is_not_the_benchmark(origin: Origin, num_classes: int, message: str) -> None:
    protocol = PROTOCOLS[origin.benchmark]
    said = refusal(manifest(origin, num_classes), f"protocol={protocol}")
    assert message in said
    assert said.startswith(f"benchmark.protocol = {protocol}: data.path = shards is")
    assert said.endswith(": prepare the whole benchmark; or set benchmark.protocol=null")


def test_what_passed_by_unverified_is_not_what_is_named() -> None:
    """Fifty classes of anyone's pictures can be prepared as `vtab`, but are not VTAB."""
    made_up = manifest(VTAB, 50)
    assert refusal(made_up, "protocol=vtab-B0-Inc10", "split=published") == (
        "benchmark.protocol = vtab-B0-Inc10, benchmark.split = published: data.path = shards passed by --unverified "
        "(the archive holds 50 training pictures, not 1,796): prepare it from the authors' archive without "
        "--unverified; or set benchmark.protocol=null benchmark.split=null"
    )
    assert refusal(made_up, "split=published").endswith("; or set benchmark.split=null")
    check_origin(made_up, named(), "shards")


def test_a_benchmark_without_a_published_checksum_can_be_named() -> None:
    unchecked = replace(VTAB, waived=(), unchecked=("no checksum is published",))
    check_origin(manifest(unchecked, 50), named("protocol=vtab-B0-Inc10", "split=published"), "shards")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (LISTED[1:], f"lacks 1 of the 6000 test pictures, first {LISTED[0]}, of split coda"),
        ([*LISTED, "n01443537/mine"], "has 1 test pictures that are not among the 6000, first mine-"),
    ],
)
def test_an_origin_that_its_pictures_belie_is_refused(test: Sequence[str], message: str) -> None:
    said = refusal(manifest(CODA, test=test), "protocol=imagenet_r-B0-Inc20", "split=coda")
    assert message in said
    assert said.endswith("prepare it from the authors' archive; or set benchmark.protocol=null benchmark.split=null")


def test_it_is_checked_before_anything_starts(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"benchmark.split = coda"):
        check_fit(job(drawn, tmp_path / "run", "benchmark.split=coda"))
