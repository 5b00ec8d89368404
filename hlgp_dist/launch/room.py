"""How many workers and runs a cluster holds now, and waiting for those that were lost."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.launch.cluster import cluster_address, worker_resources
from hlgp_dist.launch.stop import Stop

LOOK_SECONDS = 1.0
PARTS = 10_000
"""Of one unit of a resource: Ray cuts amounts to whole ones."""
HEAD_NODE = "node:__internal_head__"
"""Ray's own resource of the head: a trial's driver reserves no CPU, but Tune wants it to reserve something."""
DRIVER_BYTES = 1.2e9
"""Of a trial where its driver runs, measured: the driver 0.5 to 0.9, by its manifest, Ray Train's controller 0.4, what
else Ray starts for it 0.1."""
log = logging.getLogger("hlgp_dist")


def runs_at_once(launch: LaunchOptions) -> int:
    """How many runs of `launch.num_workers` ranks the cluster holds as it is; at least one where it may grow for it."""
    return max(workers_now(launch) // launch.num_workers, int(_may_grow(launch)))


def await_placeable(launch: LaunchOptions, stop: Stop) -> None:
    """Until one run fits: a cluster's nodes join one by one, so they are given `launch.wait_seconds`.

    An elastic one then begins with as many workers as fit.

    Raises:
        EnvironmentFailure: not even one run can be placed; in a Ray of this process's own, which nobody joins, at once.
        Interrupted: by the user.
    """
    until = time.monotonic() + (launch.wait_seconds if cluster_address(launch) else 0)
    waits = False
    while runs_at_once(launch) < 1:
        stop.check("before there was a cluster to run on")
        if time.monotonic() >= until:
            if _holds_a_part(launch):
                return
            raise EnvironmentFailure(_too_small(launch))
        if not waits:
            log.warning("%s; waiting for nodes to join, %d s at most", _too_small(launch), launch.wait_seconds)
        waits = True
        time.sleep(LOOK_SECONDS)


class TrialRoom:
    """Whether another trial of a search finds room, as the cluster now is; nodes that it lost may come back."""

    def __init__(self, config: RunConfig) -> None:
        assert config.search is not None
        self._launch, self._most = config.launch, config.search.max_concurrent_trials or sys.maxsize
        self._sufficed_at = time.monotonic()
        self._is_told = False

    def __call__(self, running: int) -> bool:
        """With so many at work already. After `launch.wait_seconds` an elastic one takes a part of its workers.

        Raises:
            EnvironmentFailure: none is, and nodes have been waited for in vain.
        """
        fits = runs_at_once(self._launch)
        if fits > 0:
            self._sufficed_at = time.monotonic()
        elif time.monotonic() - self._sufficed_at >= self._launch.wait_seconds:
            fits = int(_holds_a_part(self._launch))
            if fits == running == 0:
                waited = f"after launch.wait_seconds={self._launch.wait_seconds}"
                raise EnvironmentFailure(f"{_too_small(self._launch)} {waited}; the same command resumes")
        wanted, holds = min(fits, self._most), self._drivers()
        if holds <= running < wanted and not self._is_told:
            self._is_told = True
            log.warning(_too_many(self._launch, holds, wanted))
        return running < min(wanted, holds)

    def _drivers(self) -> float:
        """How many trials find memory for what looks after them; Ray would end processes where it is full."""
        place = self._launch.driver_resource or HEAD_NODE
        memory = [float(node.get("memory", sys.maxsize)) for node in living_nodes() if place in node]
        return max(1.0, sum(each // DRIVER_BYTES for each in memory))


def _too_many(launch: LaunchOptions, holds: float, wanted: int) -> str:
    told = f"{holds:g} trials at a time, where {wanted} have room: each takes {DRIVER_BYTES / 1e9:g} GB of memory"
    if launch.driver_resource is not None:
        return f"{told} on the nodes with launch.driver_resource={launch.driver_resource}; give it to more of them"
    return f"{told} on the head; give it more, or name a resource of other nodes by launch.driver_resource"


def workers_at_start(launch: LaunchOptions) -> int:
    """Of a run's first attempt, whose place was waited for before: all, or what there is for an elastic one."""
    return launch.num_workers if runs_at_once(launch) > 0 or not _holds_a_part(launch) else workers_now(launch)


def _holds_a_part(launch: LaunchOptions) -> bool:
    """Whether an elastic run may begin, once the missing nodes were waited for."""
    return launch.elastic and workers_now(launch) > 0


def _too_small(launch: LaunchOptions) -> str:
    needs = {name: amount * launch.num_workers for name, amount in worker_resources(launch).items()}
    total = ray.cluster_resources()
    has = {name: total.get(name, 0.0) for name in needs}
    return f"launch.num_workers: one run needs {_words(needs)}, the cluster has {_words(has)}"


def workers_now(launch: LaunchOptions) -> int:
    """Workers that the cluster holds once nobody else uses it."""
    return placeable(living_nodes(), worker_resources(launch))


def _may_grow(launch: LaunchOptions) -> bool:
    """Whether an autoscaler may make room for one run; it does once workers wait for their place."""
    return placeable([_most()], worker_resources(launch)) >= launch.num_workers


def _most() -> dict[str, float]:
    """What an autoscaler may make of the cluster; nothing where there is none."""
    return ray._private.state.state.get_max_resources_from_cluster_config() or {}


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def room(config: RunConfig, stop: Stop) -> int:
    """Workers of the next attempt: `launch.num_workers`, or fewer after `launch.wait_seconds` if it is elastic.

    Where an autoscaler may start the hosts that are missing it is all of them, whose place it then makes.

    Raises:
        EnvironmentFailure: too few hosts are left, after the same time, and nothing starts others.
        Interrupted: by the user.
    """
    launch = config.launch
    until = time.monotonic() + launch.wait_seconds
    while (holds := workers_now(launch)) < launch.num_workers:
        stop.check("while it waited for hosts")
        is_over = time.monotonic() > until
        if is_over and launch.elastic and holds > 0:
            return holds
        if _may_grow(launch) and (is_over or not launch.elastic):
            break
        if is_over:
            raise EnvironmentFailure(
                f"launch.wait_seconds: after {launch.wait_seconds} s the cluster holds {holds} of "
                f"{launch.num_workers} workers; the same command resumes"
            )
        time.sleep(LOOK_SECONDS)
    return launch.num_workers


def placeable(nodes: Sequence[Mapping[str, float]], worker: Mapping[str, float]) -> int:
    """How many workers fit, each whole on one node; counted as Ray does, where five of 0.2 make a GPU."""
    needed = {name: max(1, int(PARTS * amount)) for name, amount in worker.items()}
    return sum(min(int(PARTS * node.get(name, 0.0)) // parts for name, parts in needed.items()) for node in nodes)


def living_nodes() -> list[dict[str, Any]]:
    """The resources of each node that is there to stay."""
    leaving = ray._private.state.state.get_draining_nodes()
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
