"""What a killed controller held can be had again; what others of the job hold stays theirs."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.launch.abandoned import UnwatchedTrainer, free_abandoned
from hlgp_dist.launch.cluster import ray_cluster

SECONDS = 30


def maker() -> Any:
    """An actor that makes a placement group and puts nothing into it."""

    class Maker:
        def make(self) -> PlacementGroup:
            group = placement_group([{"CPU": 0.01}])
            assert group.wait(30)
            return group

    return ray.remote(num_cpus=0)(Maker).remote()


def state_of(group: PlacementGroup) -> str:
    return str(placement_group_table(group)["state"])


def test_no_actor_is_left_to_look_after_a_group() -> None:
    """By Ray's private names; with them gone its own actors would come back, and outlive a killed controller."""
    ours, theirs = (kind(print)._create_default_callbacks() for kind in (UnwatchedTrainer, TorchTrainer))
    assert len(ours) == len(theirs) - 1
    assert not any(isinstance(callback, PlacementGroupCleanerCallback) for callback in ours)


def test_groups_of_dead_actors_are_removed_and_no_others() -> None:
    with ray_cluster(LaunchOptions()):
        makers = [maker(), maker()]
        theirs = ray.get([maker.make.remote() for maker in makers])
        ours = placement_group([{"CPU": 0.01}])
        assert ours.wait(SECONDS)
        ray.kill(makers[0])
        deadline = time.monotonic() + SECONDS
        while state_of(theirs[0]) != "REMOVED" and time.monotonic() < deadline:
            free_abandoned()
            time.sleep(0.1)
        assert [state_of(group) for group in (*theirs, ours)] == ["REMOVED", "CREATED", "CREATED"]
