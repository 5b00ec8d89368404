"""Waiting for a cluster's nodes before the first run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ray.cluster_utils import Cluster

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.load import resolve
from hlgp_dist.errors import EnvironmentFailure, Interrupted
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.room import await_placeable, room
from hlgp_dist.launch.stop import Stop


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Of one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    with ray_cluster(LaunchOptions(kind="ray", address=cluster.address)):
        yield cluster
    cluster.shutdown()


def of_two(cluster: Cluster, wait_seconds: int) -> LaunchOptions:
    return LaunchOptions(
        kind="ray", address=cluster.address, num_workers=2, gpus_per_worker=0, wait_seconds=wait_seconds
    )


def test_it_ends_after_its_time_or_by_a_signal(cluster: Cluster) -> None:
    with pytest.raises(EnvironmentFailure, match="one run needs 2 CPU, the cluster has 1 CPU"):
        await_placeable(of_two(cluster, 1), Stop())
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted, match="stopped by a signal"):
        await_placeable(of_two(cluster, 60), stop)
    config = resolve({"data": {"path": "."}, "launch": of_two(cluster, 60).model_dump()}).config
    with pytest.raises(Interrupted, match="while it waited for hosts"):
        room(config, stop)


def test_a_node_that_joins_is_waited_for(cluster: Cluster) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(await_placeable, of_two(cluster, 60), Stop())
        with pytest.raises(TimeoutError):
            waiting.result(1.5)
        cluster.add_node(num_cpus=1)
        waiting.result()
