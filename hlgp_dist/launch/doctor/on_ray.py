"""The nodes of the Ray cluster that this process has joined: each call is a task bound to its node."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.launch.doctor.fleet import Call, Reply, late, told

CANCEL_SECONDS = 5.0


class OnRay:
    """Tasks reserve nothing, so a busy cluster is examined, too."""

    def __init__(self) -> None:
        alive = [node for node in ray.nodes() if node["Alive"]]
        known = dict(zip(node_names(alive), alive, strict=True))
        self._ids = {name: node["NodeID"] for name, node in known.items()}
        self.addresses: Mapping[str, str] = {name: node["NodeManagerAddress"] for name, node in known.items()}
        self.services: Mapping[str, Mapping[str, int]] = {
            name: {"raylet": node["NodeManagerPort"], "object manager": node["ObjectManagerPort"]}
            for name, node in known.items()
        }

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self._ids)

    def ask(self, calls: Sequence[Call], seconds: float) -> list[Reply]:
        tasks = [self._start(call) for call in calls]
        deadline = time.monotonic() + seconds
        try:
            return [_reply(task, deadline, seconds) for task in tasks]
        finally:
            _, unfinished = ray.wait(tasks, num_returns=len(tasks), timeout=0)
            for task in unfinished:
                ray.cancel(task, force=True)
            if unfinished:
                ray.wait(unfinished, num_returns=len(unfinished), timeout=CANCEL_SECONDS)

    def _start(self, call: Call) -> Any:
        there = NodeAffinitySchedulingStrategy(self._ids[call.node], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(call.probe)
        return task.remote(*call.args)


@contextmanager
def joined(address: str) -> Iterator[str]:
    """Inside, this process is a client of the Ray at the address; the host:port of its control store.

    Raises:
        EnvironmentFailure: with Ray's reason, e.g. that its version is another.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentFailure(f"the Ray at {address} cannot be joined: {error}") from error
    try:
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def node_names(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """By host; where several nodes are on a host with the beginning of their ids."""
    hosts = Counter(node["NodeManagerHostname"] for node in nodes)
    return [
        host if hosts[host] == 1 else f"{host}/{node['NodeID'][:6]}"
        for node in nodes
        for host in [node["NodeManagerHostname"]]
    ]


def _reply(task: Any, deadline: float, seconds: float) -> Reply:
    try:
        return Reply(ray.get(task, timeout=max(0.0, deadline - time.monotonic())))
    except ray.exceptions.GetTimeoutError:
        return late(seconds)
    except ray.exceptions.RayTaskError as error:
        return told(error.cause or error)
    except ray.exceptions.RayError as error:
        return told(error)
