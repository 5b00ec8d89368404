"""Which public benchmark a shard folder was prepared from, and how far that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlgp_dist.config.protocols import CLASSES, benchmark_of
from hlgp_dist.config.schema import Benchmark
from hlgp_dist.errors import DataError


@dataclass(frozen=True)
class Origin:
    """What `hlgp data prepare` made a shard folder from.

    split: how train and test were divided, as `--split` has it; `test_sha256` identifies the test pictures' names.
    seed: of a random split, else None. domain: of a benchmark that has domains, else None.
    verified: every checksum and count was the published one; `differences` says what was not, or could not be, checked.
    archives: MD5 in hex by file name, None for a folder, which has none.
    """

    benchmark: str
    split: str
    seed: int | None
    domain: str | None
    verified: bool
    differences: tuple[str, ...]
    archives: Mapping[str, str | None]
    test_sha256: str

    def __str__(self) -> str:
        parts = [self.benchmark, self.domain, f"split {self.split}", None if self.seed is None else f"seed {self.seed}"]
        checked = "as published" if self.verified else "not verified"
        return ", ".join(part for part in [*parts, checked] if part is not None)


def check_origin(origin: Origin | None, num_classes: int, benchmark: Benchmark, path: str) -> None:
    """Raise DataError where the shards are not of the benchmark and the split that the configuration names, whole."""
    if benchmark.protocol is not None:
        name = benchmark_of(benchmark.protocol)
        told = f"benchmark.protocol = {benchmark.protocol}: data.path = {path}"
        known = _known(origin, told)
        if known.benchmark != name:
            raise DataError(f"{told} is of {known.benchmark}, not of {name}")
        if known.domain not in (None, "all") or num_classes != CLASSES[name]:
            raise DataError(f"{told} is a part of {name}, {num_classes} of {CLASSES[name]} classes: {origin}")
    if benchmark.split is not None:
        told = f"benchmark.split = {benchmark.split}: data.path = {path}"
        if _known(origin, told).split != benchmark.split:
            raise DataError(f"{told} is divided by {_known(origin, told).split}")


def _known(origin: Origin | None, told: str) -> Origin:
    if origin is None:
        raise DataError(f"{told} was not made by `hlgp data prepare`, so nothing says what it is")
    return origin


def parse_origin(document: Mapping[str, Any]) -> Origin:
    """The manifest's block.

    Raises:
        TypeError, ValueError: it is not what `Origin` holds.
    """
    origin = Origin(**{**document, "differences": tuple(document["differences"])})
    texts = (origin.benchmark, origin.split, origin.test_sha256, *origin.differences, *origin.archives)
    if not all(isinstance(text, str) for text in texts) or not isinstance(origin.verified, bool):
        raise ValueError("origin holds a value of the wrong type")
    return origin
