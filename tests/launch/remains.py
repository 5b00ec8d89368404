"""What a search may leave behind, which is its results: asked on the machine of `isolated`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ray

from tests.isolated import SHARED_MEMORY, TEMPORARY, listening_ports, processes
from tests.launch.nodes import ADDRESS

RAYS_OWN = "_AutoscalingCoordinatorActor"
"""One a cluster, which Ray's training library starts and leaves; it holds nothing."""
WITH_THE_CLUSTER = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", f"ray::{RAYS_OWN}")
TORCHS_OWN = "torchinductor_"
"""Its cache, which stays for the next process."""
HALVES = ("*.aside", "*.partial", "*.tmp*", ".tmp*")
SETTLE_SECONDS = 60


def assert_nothing_of(what: str, look: Callable[[], Sequence[object]]) -> None:
    """Ray ends what has lost its owner a moment later."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left, f"{what}: {left}"


def assert_no_halves(*folders: Path) -> None:
    found = [path for folder in folders for pattern in HALVES for path in folder.rglob(pattern)]
    assert not found, f"temporary files: {found}"


def assert_cluster_is_free() -> None:
    """No actor, placement group or process of ours; all resources can be had again."""
    ray.init(address=ADDRESS, log_to_driver=False, logging_level="error")
    assert_nothing_of("actors", _living_actors)
    assert_nothing_of("placement groups", _placement_groups)
    assert_nothing_of("processes", _ours)
    assert_nothing_of("resources", _taken)
    ray.shutdown()


def _living_actors() -> list[str]:
    actors = ray._private.state.actors().values()
    return [
        actor["ActorClassName"] for actor in actors if actor["State"] != "DEAD" if actor["ActorClassName"] != RAYS_OWN
    ]


def _placement_groups() -> list[str]:
    return [name for name, group in ray.util.placement_group_table().items() if group["state"] != "REMOVED"]


def _ours() -> list[str]:
    found = [process.command for process in processes() if not process.command.startswith(WITH_THE_CLUSTER)]
    return [command for command in found if command.startswith("ray::") or "hlgp_dist.cli" in command]


def _taken() -> list[str]:
    free = ray.available_resources()
    return [f"{name}: {amount}" for name, amount in ray.cluster_resources().items() if free.get(name) != amount]


def assert_machine_is_clean() -> None:
    """After the cluster has gone, too."""
    assert_nothing_of("processes", processes)
    assert_nothing_of("ports", lambda: sorted(listening_ports()))
    assert_nothing_of("shared memory", lambda: [*SHARED_MEMORY.iterdir()])
    left = [path for path in TEMPORARY.iterdir() if not path.name.startswith(TORCHS_OWN)]
    assert not left, f"temporary files: {left}"
