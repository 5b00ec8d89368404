"""Clocks: each node's against the first one's, known up to half the round trip of the question."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, Fleet
from hlgp_dist.launch.doctor.site import Site

CHECK = "clock"
SECONDS = 60.0
ASKED = 4
WARNING_SECONDS, FAILED_SECONDS = 1.0, 30.0
FIX = "Run a time service on every node (chrony, systemd-timesyncd), and see that `timedatectl` says synchronized."


@dataclass(frozen=True)
class Reading:
    """Seconds that a clock is ahead of this process's, and by how much that may be wrong."""

    ahead: float
    bound: float


def check_clocks(site: Site) -> list[Finding]:
    """A machine alone has one clock."""
    if len(site.fleet.nodes) < 2:
        return [Finding(CHECK, "skipped", "one node, one clock")]
    readings = {node: _read(site.fleet, node) for node in site.fleet.nodes}
    silent = [Finding(CHECK, "failed", one, FIX, node) for node, one in readings.items() if isinstance(one, str)]
    return silent + judge({node: one for node, one in readings.items() if isinstance(one, Reading)})


def _read(fleet: Fleet, node: str) -> Reading | str:
    """The best of a few, or why there is none."""
    readings = []
    for _ in range(ASKED):
        asked = time.time()
        (reply,) = fleet.ask([Call(node, clock)], SECONDS)
        if reply.problem is not None:
            return reply.problem
        readings.append(reading(asked, reply.value, time.time()))
    return min(readings, key=lambda one: one.bound)


def clock() -> float:
    """What this node's says."""
    return time.time()


def reading(asked: float, there: float, answered: float) -> Reading:
    """Of three times: it was told some time between question and answer."""
    return Reading(there - (asked + answered) / 2, (answered - asked) / 2)


def judge(readings: Mapping[str, Reading]) -> list[Finding]:
    """By what is sure: the difference less its bound."""
    if not readings:
        return []
    (_, first), *others = readings.items()
    return [_judge(node, Reading(one.ahead - first.ahead, one.bound + first.bound)) for node, one in others]


def _judge(node: str, skew: Reading) -> Finding:
    found = f"{skew.ahead:+.3f} s to the first node's, known to {skew.bound:.3f} s"
    sure = abs(skew.ahead) - skew.bound
    if sure > FAILED_SECONDS:
        return Finding(CHECK, "failed", found, FIX, node, asdict(skew))
    if sure > WARNING_SECONDS:
        return Finding(CHECK, "warning", found, FIX, node, asdict(skew))
    return Finding(CHECK, "ok", found, node=node, measured=asdict(skew))
