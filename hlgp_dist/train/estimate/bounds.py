"""What bounds a step at so many workers: matrix products, the network, or pictures. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PIXELS_PER_SECOND = 1.28e8
"""That a core reads, decodes, scales and stores: 1.46 ms for a JPEG of 500 x 375 (docs/loading.md, measured)."""
LOADER_SECONDS = 3e-5
"""Of a loader thread for a picture of a batch (docs/loading.md, measured)."""
LATENCY_SECONDS = 2e-5
"""Assumed: of a message between two hosts; an all-reduce goes up and down a tree of them."""


LAUNCH_SECONDS = 6e-6
"""Assumed: of a host to launch an operation of a GPU. A step of few pictures takes as long as its launches."""


@dataclass(frozen=True)
class Site:
    """Assumed of the machines: GPUs and cores of a host, bits a second between hosts, loader threads of a rank."""

    gpus: int = 8
    cores: int = 96
    bits_per_second: float = 100e9
    loader_threads: int = 1


@dataclass(frozen=True)
class Bound:
    """Of a step at `workers`, in seconds; share: pictures of a rank. decoding: of all pictures, on all hosts."""

    workers: int
    share: int
    compute: float
    launches: float
    network: float
    loading: float
    decoding: float
    hours: float

    @property
    def by(self) -> str:
        """The longest of what a step waits for; loading goes on beside it."""
        parts = {"matrix products": self.compute, "launches": self.launches}
        parts |= {"network": self.network, "loading": self.loading}
        return max(parts, key=lambda part: parts[part])


@dataclass(frozen=True)
class StepWork:
    """batch: pictures of a step over all ranks; seconds: that one device computes on a picture of it; launches: seconds
    of a step, however few pictures it has, 0 where its rate was measured; steps, test_seconds: of the whole run;
    traffic: bytes to be summed over ranks in a step; pixels: to be decoded on each host.
    """

    batch: int
    seconds: float
    launches: float
    steps: int
    test_seconds: float
    traffic: int
    pixels: int


def bounds(work: StepWork, site: Site, workers: Iterable[int]) -> list[Bound]:
    """At each number of workers that a batch can be shared by."""
    return [_bound(work, site, number) for number in workers if number <= work.batch]


def _bound(work: StepWork, site: Site, workers: int) -> Bound:
    share = -(-work.batch // workers)
    compute, loading = share * work.seconds, share * LOADER_SECONDS / max(site.loader_threads, 1)
    network = all_reduce_seconds(work.traffic, workers, site)
    cores = min(site.cores, max(1, site.cores * workers // site.gpus))
    decoding = work.pixels / (PIXELS_PER_SECOND * cores)
    step = max(compute, work.launches, loading) + network
    hours = (work.steps * step + work.test_seconds / workers + decoding) / 3600
    return Bound(workers, share, compute, work.launches, network, loading, decoding, hours)


def all_reduce_seconds(size: int, workers: int, site: Site) -> float:
    """Of a ring over the hosts' links, 2 (W - 1) / W bytes each way, and the latency of a tree; none within a host."""
    hosts = -(-workers // site.gpus)
    if hosts == 1:
        return 0.0
    moved = 8 * sent_bytes(size, workers) / site.bits_per_second
    return moved + 2 * math.ceil(math.log2(hosts)) * LATENCY_SECONDS


def sent_bytes(size: int, workers: int) -> float:
    """By each rank, and received, to sum `size` bytes over all of them."""
    return 2 * (workers - 1) / workers * size
