"""Passes over the pictures, timed in turns, so that what else the machine does meets all contenders alike."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import torch

from hlgp_dist.bench.workload import Contender, Finished
from hlgp_dist.errors import DataError


def rates(contenders: Mapping[str, Contender], pictures: int, *, repeats: int, device: str) -> dict[str, float]:
    """Median pictures/s of each, after one epoch to warm up, every repeat in another order.

    Raises:
        DataError: one of them does not give every picture once.
    """
    names, seconds = list(contenders), {name: list[float]() for name in contenders}
    for repeat in range(-1, repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            taken = timed(contenders[name].epoch(repeat + 1), pictures, who=name, device=device)
            if repeat >= 0:
                seconds[name].append(taken)
    return {name: pictures / median(taken) for name, taken in seconds.items()}


def timed(epoch: Iterable[Finished], pictures: int, *, who: str, device: str) -> float:
    """Seconds from the first batch asked for to the last one finished on the device."""
    began = time.perf_counter()
    ids = [batch.ids for batch in epoch]
    wait_for(device)
    seconds = time.perf_counter() - began
    if not torch.equal(torch.cat(ids).sort().values, torch.arange(pictures)):
        raise DataError(f"{who}: did not give each of the {pictures} pictures once")
    return seconds


def wait_for(device: str) -> None:
    """Until it has done all that it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """As many of torch's own."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
