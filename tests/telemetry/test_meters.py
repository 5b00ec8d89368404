"""Means over ranks and steps, without a host sync on the way, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hlgp_dist.telemetry.meters import Clock, Meters, memory


def alone(totals: Tensor) -> Tensor:
    return totals


def over(*others: Meters) -> Callable[[Tensor], Tensor]:
    """The sum that an all-reduce over ranks gives."""
    return lambda totals: totals + sum(other._totals for other in others)


def test_means_are_over_ranks_steps_and_counts() -> None:
    first, second = Meters(["loss", "acc1"], "cpu"), Meters(["loss", "acc1"], "cpu")
    first.add("loss", torch.tensor(6.0, requires_grad=True), 4)
    first.add("acc1", torch.tensor(3), torch.tensor(4))
    second.add("loss", 1.0)
    second.add("loss", 1.0)
    second.add("acc1", 0, 0)  # an empty share
    assert first.drain(over(second)) == {"loss": 8.0 / 6.0, "acc1": 0.75}


def test_a_drain_starts_anew_and_leaves_out_what_is_empty() -> None:
    meters = Meters(["loss", "acc1"], "cpu")
    meters.add("loss", 3.0, 2)
    assert meters.drain(alone) == {"loss": 1.5}
    assert meters.drain(alone) == {}


def test_a_drain_reduces_once_whatever_the_number_of_meters() -> None:
    calls: list[tuple[int, ...]] = []
    meters = Meters([f"m{index}" for index in range(7)], "cpu")
    meters.add("m3", 1.0)
    meters.drain(lambda totals: calls.append(tuple(totals.shape)) or totals)  # type: ignore[func-returns-value]
    assert calls == [(2, 7)]


def test_adding_never_waits_for_the_device() -> None:
    meters = Meters(["loss"], "meta")  # a meta tensor has no value: any host sync would raise
    meters.add("loss", torch.ones((), device="meta"), torch.ones((), device="meta"))
    with pytest.raises(NotImplementedError):
        meters.drain(alone)


def test_large_sums_keep_their_small_parts() -> None:
    meters = Meters(["n"], "cpu")
    meters.add("n", torch.tensor(2.0**24))
    meters.add("n", torch.tensor(1.0))
    assert meters.drain(alone)["n"] == (2.0**24 + 1) / 2


def test_the_clock_counts_images_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = Clock("cpu", num_devices=4)
    for _ in range(2):
        with clock.waiting():
            now += 1.0
        now += 3.0
        clock.count(40)
    readings = clock.read()
    assert readings["throughput/images_per_s"] == 10.0
    assert readings["throughput/images_per_s_per_gpu"] == 2.5
    assert readings["throughput/data_wait_frac"] == 0.25
    now += 100.0
    clock.restart()
    now += 2.0
    clock.count(10)
    assert clock.read()["throughput/images_per_s"] == 5.0


def test_a_gpu_waits_once_it_has_done_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host runs ahead of a device that takes 3 s a step, to a loader that gives a batch in 2 s, then in 5."""
    now = done = 0.0

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = 0.0

        def record(self) -> None:
            self.at = max(now, done)

        def elapsed_time(self, end: Event) -> float:
            return 1000.0 * (end.at - self.at)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock("cuda", num_devices=1)
    for fetched in (2.0, 2.0, 5.0):
        with clock.waiting():
            now += fetched
        done = max(now, done) + 3.0
    now = done
    waited = 2.0 + 0.0 + 1.0  # the first; none while a step runs for 3 s; the device is done at 8, the batch there at 9
    assert clock.read()["throughput/data_wait_frac"] == pytest.approx(waited / now)


def test_memory_is_this_process() -> None:
    before = memory(torch.device("cpu"))["memory/rss_gib"]
    ballast = torch.ones(32, 2**20)
    assert 0.1 < memory(torch.device("cpu"))["memory/rss_gib"] - before < 0.25
    assert ballast.sum() > 0
