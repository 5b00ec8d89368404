"""Whether shards are of the benchmark and the split that a configuration names: told from the manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from hlgp_dist.benchmarks.lists import PACKAGED_LISTS, packaged_list
from hlgp_dist.config.protocols import CLASSES, benchmark_of
from hlgp_dist.config.schema import Benchmark
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.origin import Origin
from hlgp_dist.data.record import Names
from hlgp_dist.errors import DataError
from hlgp_dist.shards.listing import SUFFIXES

_BOTH = ("protocol", "split")


def check_origin(manifest: Manifest, benchmark: Benchmark, path: str) -> None:
    """Raise DataError where the shards in `path` are not what `benchmark` names by protocol and split, or not whole."""
    given = {"protocol": benchmark.protocol, "split": benchmark.split}
    named = {key: value for key, value in given.items() if value is not None}
    if not named:
        return
    for keys, problem in _problems(manifest, benchmark):
        own = [key for key in keys if key in named]
        told = ", ".join(f"benchmark.{key} = {named[key]}" for key in own)
        freed = " ".join(f"benchmark.{key}=null" for key in own)
        raise DataError(f"{told}: data.path = {path} {problem}; or set {freed}")


def _problems(manifest: Manifest, benchmark: Benchmark) -> Iterator[tuple[tuple[str, ...], str]]:
    """(The keys that say otherwise, what is wrong and what mends it), the most telling first."""
    origin, split = manifest.origin, benchmark.split
    if origin is None:
        yield _BOTH, "was not made by `hlgp data prepare`, so nothing says what it is: prepare it"
        return
    if benchmark.protocol is not None:
        for problem in _other_benchmark(origin, len(manifest.classes), benchmark_of(benchmark.protocol)):
            yield ("protocol",), problem
    if split not in (None, origin.split):
        yield ("split",), f"is divided by {origin.split}: prepare it with --split {split}"
    if origin.waived:
        waived = "; ".join(origin.waived)
        yield _BOTH, f"passed by --unverified ({waived}): prepare it from the authors' archive without --unverified"
    if origin.split in PACKAGED_LISTS:
        for problem in _other_pictures(manifest, _listed_keys(origin.split)):
            yield _BOTH, f"{problem} of split {origin.split}: prepare it from the authors' archive"


def _other_benchmark(origin: Origin, num_classes: int, name: str) -> Iterator[str]:
    if origin.benchmark != name:
        yield f"is of {origin.benchmark}, not of {name}: prepare {name}"
    elif origin.domain not in (None, "all") or num_classes != CLASSES[name]:
        yield f"is a part of {name}, {num_classes} of {CLASSES[name]} classes ({origin}): prepare the whole benchmark"


@cache
def _listed_keys(split: str) -> Mapping[str, str]:
    """CLASS/STEM of a packaged list by every key that its sample may have; a study asks for each of its parts."""
    listed = packaged_list(PACKAGED_LISTS[split])
    return {_test_key(entry + suffix): entry for entry in sorted(listed) for suffix in _spelled(SUFFIXES)}


def _other_pictures(manifest: Manifest, entries: Mapping[str, str]) -> Iterator[str]:
    """By the samples' keys, which hash split, class and name; a list leaves the name's suffix out."""
    listed = set(entries.values())
    keys = [key.decode() for key in manifest.splits["test"].key.tolist()]
    if missing := sorted(listed - {entries[key] for key in keys if key in entries}):
        yield f"lacks {len(missing)} of the {len(listed)} test pictures, first {missing[0]},"
    if strangers := [key for key in keys if key not in entries]:
        yield f"has {len(strangers)} test pictures that are not among the {len(listed)}, first {strangers[0]},"


def _spelled(suffixes: frozenset[str]) -> frozenset[str]:
    return suffixes | {suffix.upper() for suffix in suffixes}


def _test_key(place: str) -> str:
    class_name, _, name = place.partition("/")
    return Names("test", class_name, name).key
