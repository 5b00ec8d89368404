"""Waiting for a cluster's nodes before the first run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from ray.train import ControllerError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.load import apply, resolve
from hlgp_dist.errors import EnvironmentFailure, Interrupted
from hlgp_dist.launch import ray_run
from hlgp_dist.launch import room as room_of
from hlgp_dist.launch.cluster import ray_cluster
from hlgp_dist.launch.room import HEAD_NODE, TrialRoom, await_placeable, room, workers_at_start
from hlgp_dist.launch.stop import Stop
from hlgp_dist.train.folder import RunFolder


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


def test_a_retry_leaves_it_to_an_autoscaler_to_start_hosts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts them for workers that wait for their place, however long it takes: nobody waits here meanwhile."""
    config = resolve({"data": {"path": "."}, "launch": of_two(cluster, 0).model_dump()}).config
    monkeypatch.setattr(room_of, "_most", lambda: {"CPU": 2.0})
    assert room(config, Stop()) == 2
    assert room(apply(config, {"launch.elastic": True}), Stop()) == 1, "after its time it takes what there is"
    monkeypatch.setattr(room_of, "living_nodes", list)
    assert room(apply(config, {"launch.elastic": True}), Stop()) == 2
    monkeypatch.setattr(room_of, "_most", dict)
    with pytest.raises(EnvironmentFailure, match="after 0 s the cluster holds 0 of 2 workers"):
        room(config, Stop())


def test_a_group_that_waits_for_an_autoscaler_is_no_lost_one(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train gives up a group that has no place after a minute; a machine takes longer to boot."""
    tries: list[int] = []

    class Trainer:
        def fit(self) -> None:
            tries.append(1)
            if len(tries) < 3:
                raise ControllerError(WorkerGroupStartupTimeoutError(2))

    monkeypatch.setattr(room_of, "_most", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray_run, "_trainer", lambda *_: Trainer())
    config = resolve({"data": {"path": "."}, "launch": of_two(cluster, 0).model_dump()}).config
    ray_run.fit(config, RunFolder(tmp_path / "run"))
    assert len(tries) == 3


def search_on(cluster: Cluster, wait_seconds: int, **changes: Any) -> TrialRoom:
    search = {"space": {"optimizer.prompt_lr": {"grid": [0.01]}}, "num_samples": 1}
    values = {"data": {"path": "."}, "launch": of_two(cluster, wait_seconds).model_dump(), "search": search}
    return TrialRoom(apply(resolve(values).config, changes))


def test_a_search_on_too_few_workers_for_good_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not search_on(cluster, 60)(0), "a node may come back"
    has_room = search_on(cluster, 0)
    assert not has_room(1), "what runs is left to its end"
    with pytest.raises(EnvironmentFailure, match=r"has 1 CPU after launch\.wait_seconds=0; the same command resumes"):
        has_room(0)
    monkeypatch.setattr(room_of, "living_nodes", lambda: [{"CPU": 2.0}])
    assert has_room(0) and not has_room(1)


def test_an_elastic_search_goes_on_with_the_workers_there_are(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    elastic = {"launch.elastic": True}
    assert not search_on(cluster, 60, **elastic)(0)
    has_room, launch = search_on(cluster, 0, **elastic), of_two(cluster, 0).model_copy(update={"elastic": True})
    assert has_room(0) and not has_room(1)
    await_placeable(launch, Stop())
    assert workers_at_start(launch) == 1
    monkeypatch.setattr(room_of, "living_nodes", list)
    with pytest.raises(EnvironmentFailure):
        has_room(0)
    monkeypatch.setattr(room_of, "_most", lambda: {"CPU": 2.0})
    assert has_room(0) and workers_at_start(launch) == 2, "an autoscaler makes room"


def test_a_heads_memory_bounds_the_trials_at_a_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [{"CPU": 2.0, "memory": 1e12, "drivers": 1.0}] * 8
    monkeypatch.setattr(room_of, "living_nodes", lambda: [{"memory": 3e9, HEAD_NODE: 1.0}, *workers])
    has_room = search_on(cluster, 60)
    assert has_room(0) and has_room(1) and not caplog.records, "as long as nothing has to wait"
    assert not has_room(2) and not has_room(7)
    told = "2 trials at a time, where 8 have room: each takes 1.2 GB of memory on the head; give it more"
    assert [line.getMessage().startswith(told) for line in caplog.records] == [True]
    elsewhere = search_on(cluster, 60, **{"launch.driver_resource": "drivers"})
    assert [elsewhere(running) for running in (0, 7, 8)] == [True, True, False]
    monkeypatch.setattr(room_of, "living_nodes", lambda: [{HEAD_NODE: 1.0}, *workers])
    assert has_room(7), "a head that does not say how much it has"
    workers[:] = [{"CPU": 2.0, "memory": 1e12}] * 7 + [{"CPU": 2.0, "memory": 1e9, "drivers": 1.0}]
    assert not elsewhere(1) and "launch.driver_resource=drivers; give it" in caplog.records[-1].getMessage()


def test_a_node_that_joins_is_waited_for(cluster: Cluster) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(await_placeable, of_two(cluster, 60), Stop())
        with pytest.raises(TimeoutError):
            waiting.result(1.5)
        cluster.add_node(num_cpus=1)
        waiting.result()
