"""Placement groups of controllers that are gone: a killed one's, a stopped trial's. Ray's private names stand here.

Ray keeps a group until its job ends, though the actor that made it is dead. Ray Train has a detached actor look after
each controller's group, but only from when all of its workers have started; and where the controller dies before that
actor is told whom to watch, it stays for as long as the cluster. So whoever starts trainers looks after all groups.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group


class UnwatchedTrainer(TorchTrainer):  # type: ignore[misc]  # ray has no types here
    """Without Ray Train's own actor that looks after its group; see `free_abandoned`."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]


def free_abandoned() -> None:
    """Remove this job's groups whose maker, an actor, is dead."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    for encoded in ray._private.state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(encoded)
        by_actor = not ray.ActorID(group.creator_actor_id).is_nil()
        is_held = group.state != PlacementGroupTableData.REMOVED
        if is_held and by_actor and group.creator_actor_dead and group.creator_job_id == job:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
