"""A job that is told to end has the time to save: what the shipped files say to Ray, Kubernetes and Docker."""

from __future__ import annotations

import inspect
import re

import pytest
import yaml
from ray.dashboard.modules.job import job_supervisor

from hlgp_dist.launch.stop import LEAVE_SECONDS
from tests.cluster.host import REPOSITORY
from tests.cluster.test_kuberay import load, ray_pods

VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""How long `ray job stop` waits before it kills; 3 s where nothing is said."""


@pytest.mark.parametrize(
    "file", ["cluster/onprem.yaml", "cluster/aws.yaml", "cluster/gcp.yaml", "cluster/slurm.sh", "docker/Dockerfile"]
)
def test_ray_waits_for_a_stopped_job(file: str) -> None:
    assert VARIABLE in inspect.getsource(job_supervisor)
    (seconds,) = re.findall(rf"{VARIABLE}=(\d+)", (REPOSITORY / file).read_text())
    assert int(seconds) > LEAVE_SECONDS


def test_pods_and_containers_get_longer() -> None:
    (waits,) = re.findall(rf"{VARIABLE}=(\d+)", (REPOSITORY / "docker" / "Dockerfile").read_text())
    pods = [pod for name in ("job", "cluster") for pod in ray_pods(load(name))]
    assert all(pod["spec"]["terminationGracePeriodSeconds"] > int(waits) for pod in pods)
    services = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]
    for name in ("head", "worker", "job"):
        (minutes,) = re.fullmatch(r"(\d+)m", services[name]["stop_grace_period"]).groups()
        assert 60 * int(minutes) > int(waits)
