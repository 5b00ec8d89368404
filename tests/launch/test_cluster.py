"""Two Rays on one machine: each asks its own dashboard."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import sys, ray
from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.launch.cluster import ray_cluster
with ray_cluster(LaunchOptions(kind="ray")):
    print(ray.nodes()[0]["NodeID"], flush=True)
    sys.stdin.readline()
    from ray.util.state import list_nodes
    print(ray.get(ray.remote(lambda: list_nodes()[0].node_id).remote()), flush=True)
"""


def test_workers_ask_the_dashboard_of_their_own_ray() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    rays = [subprocess.Popen([sys.executable, "-c", ASK], **pipes) for _ in range(2)]  # type: ignore[call-overload]
    nodes = [process.stdout.readline() for process in rays]
    answers = [process.communicate("go\n", timeout=120)[0] for process in rays]
    assert len(set(nodes)) == 2 and all(nodes)
    assert answers == nodes
