"""`hlgp doctor` as a process: on this machine, and on a Ray of two nodes of which one has other storage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hlgp_dist.launch.doctor.fleet import Call
from hlgp_dist.launch.doctor.here import Here
from hlgp_dist.ports import free_port
from tests.launch.raylets import Raylets
from tests.launch.test_search import HLGP, left_over
from tests.objects import BUCKET, ENVIRONMENT, list_bucket, s3_server

CAN_UNSHARE = (
    shutil.which("unshare") and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
)


class Said(NamedTuple):
    """Exit code, standard output and error, what --json holds, and processes that live on."""

    exit_code: int
    out: str
    error: str
    told: dict[str, Any]
    left_over: list[str]

    def states(self, check: str) -> dict[str, str]:
        """By node."""
        return {one["node"]: one["state"] for one in self.told["findings"] if one["check"] == check}

    def of(self, check: str) -> dict[str, Any]:
        """The check's last finding."""
        found: dict[str, Any] = [one for one in self.told["findings"] if one["check"] == check][-1]
        return found


def doctor(folder: Path, *arguments: str, environment: Mapping[str, str]) -> Said:
    mark, file = uuid.uuid4().hex, folder / f"{uuid.uuid4().hex}.json"
    done = subprocess.run(
        [*HLGP, "doctor", *arguments, "--json", str(file)],
        env={**environment, "HLGP_TEST_MARK": mark},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert file.is_file(), done.stderr
    told = json.loads(file.read_text())
    file.unlink()
    return Said(done.returncode, done.stdout, done.stderr, told, left_over(mark))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own; no cluster is near."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}


def test_a_machine_that_is_ready(tmp_path: Path, drawn: Path, environment: dict[str, str]) -> None:
    said = doctor(tmp_path, f"run.dir={tmp_path}/new/runs", f"data.path={drawn}", environment=environment)
    assert said.exit_code == 0, said.out + said.error
    assert said.told["ready"] and len(said.told["nodes"]) == 1
    for check in ("versions", "GPUs", "run.dir is writable", "flock", "rename", "data.path", "all-reduce"):
        assert set(said.states(check).values()) == {"ok"}, said.out
    reduced = said.of("all-reduce")["measured"]
    assert reduced["is_right"] and reduced["ranks"] == 2
    assert reduced["gigabytes_a_second"] == pytest.approx(reduced["bytes"] / reduced["seconds"] / 1e9)
    assert set(said.states("token").values()) == {"warning"}
    assert "doctor: all-reduce (11 of 11)" in said.error
    assert said.left_over == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"], "nothing is left behind"


def test_results_in_a_bucket(tmp_path: Path, environment: dict[str, str]) -> None:
    with s3_server() as port:
        environment |= {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        said = doctor(tmp_path, f"run.dir=s3://{BUCKET}/runs", environment=environment)
        assert said.exit_code == 0, said.out + said.error
        for check in ("run.dir is writable", "object storage", "disk of TMPDIR"):
            assert set(said.states(check).values()) == {"ok"}, said.out
        assert list_bucket(port) == [], "nothing is left behind"
        said = doctor(tmp_path, "run.dir=s3://nobody/runs", environment=environment)
        assert said.exit_code == 4
        assert "there is no such bucket" in said.of("run.dir is writable")["found"]


def test_a_machine_that_is_not(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    wrong = (f"run.dir={tmp_path}/file/runs", f"data.path={tmp_path}/none", f"backbone.weights={tmp_path}/w.pth")
    environment |= {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")}
    said = doctor(tmp_path, *wrong, "engine.compile=true", environment=environment)
    assert said.exit_code == 4
    assert not said.told["ready"]
    failed = {one["check"]: one for one in said.told["findings"] if one["state"] == "failed"}
    assert set(failed) == {"kernels", "run.dir is writable", "data.path", "backbone.weights"}
    assert "No working C++ compiler" in failed["kernels"]["found"]
    assert "no file" in failed["backbone.weights"]["found"]
    assert all(one["fix"].endswith(".") for one in failed.values())
    assert "fix:" in said.out and "4 failed" in said.out
    assert said.error.splitlines()[-1].startswith("hlgp: not ready: kernels on ")
    assert said.left_over == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "file", "kernels"}


def test_a_doctor_that_is_sent_away_takes_everything_along(tmp_path: Path, environment: dict[str, str]) -> None:
    mark = uuid.uuid4().hex
    command = [*HLGP, "doctor", f"run.dir={tmp_path}/runs"]
    with subprocess.Popen(
        command,
        env=environment | {"HLGP_TEST_MARK": mark},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert any("storage" in line for line in running.stderr)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/.hlgp-doctor-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
    assert running.returncode == 143
    assert left_over(mark) == []
    assert not (tmp_path / "runs").exists()


def test_what_does_not_answer_is_killed() -> None:
    here = Here()
    (node,) = here.nodes
    (pid,) = here.ask([Call(node, os.getpid)], seconds=60.0)
    assert pid.value not in (None, os.getpid()), "a process of its own"
    began = time.monotonic()
    (late,) = here.ask([Call(node, time.sleep, (600.0,))], seconds=0.5)
    assert late.problem == "no answer in 0.5 s"
    assert time.monotonic() - began < 30
    (crashed,) = here.ask([Call(node, os._exit, (3,))], seconds=60.0)
    assert crashed.problem == "the process that examined it crashed"


def test_an_address_where_nobody_is(tmp_path: Path, environment: dict[str, str]) -> None:
    said = doctor(tmp_path, "launch.kind=ray", f"launch.address=127.0.0.1:{free_port()}", environment=environment)
    assert said.exit_code == 4
    assert [one["check"] for one in said.told["findings"]] == ["cluster"]
    assert "Connection refused" in said.of("cluster")["found"] and "ray start" in said.of("cluster")["fix"]


class Cluster(NamedTuple):
    """A running Ray, and the folder that is another on its second node."""

    ray: Raylets
    apart: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("cluster")
    (root / "apart").mkdir()
    raylets = Raylets(root / "home", root / "apart")
    yield Cluster(raylets, root / "apart")
    raylets.close()


@pytest.mark.skipif(not CAN_UNSHARE, reason="needs root and unshare, for a node with other storage")
def test_a_cluster_whose_nodes_share_nothing_but_the_network(cluster: Cluster, drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn, cluster.apart / "shards")
    ray = ("launch.kind=ray", f"launch.address={cluster.ray.address}")
    paths = (f"run.dir={cluster.apart}/runs", f"data.path={cluster.apart}/shards")
    said = doctor(tmp_path, *ray, *paths, environment=cluster.ray.environment)
    assert said.exit_code == 4
    first, second = said.told["nodes"]
    ok = {first: "ok", second: "ok"}
    for check in ("versions", "GPUs"):
        assert said.states(check).items() >= ok.items(), said.out
    for check in ("ports", "token", "run.dir is writable"):
        assert said.states(check) == ok, said.out
    assert said.states("clock") == {second: "ok"}
    assert said.states("strangers") == {"all nodes": "ok"}, "a client without the token is refused"
    assert said.states("all-reduce") == {"all nodes": "ok"}
    assert said.states("shared storage") == {first: "failed", second: "failed"}
    assert "Mount one and the same folder" in said.of("shared storage")["fix"]
    assert sorted(said.states("data.path").values()) == ["failed", "ok"]
    assert said.left_over == []
    assert [path.name for path in cluster.apart.iterdir()] == ["shards"]


WAITS = """
import os, sys, time
from hlgp_dist.launch.doctor.fleet import Call
from hlgp_dist.launch.doctor.on_ray import OnRay, joined
from hlgp_dist.launch.doctor.clocks import clock
from hlgp_dist.launch.doctor.examine import CHECKS
from hlgp_dist.launch.doctor.needs import needs_of
from hlgp_dist.launch.doctor.site import Site
def hang(file):
    open(file, "w").write(str(os.getpid()))
    time.sleep(600)
with joined(sys.argv[1]) as address:
    fleet = OnRay()
    assert fleet.ask([Call(fleet.nodes[1], clock)], 60.0)[0].value  # the next has a process that is up
    print(fleet.ask([Call(fleet.nodes[1], hang, (sys.argv[2],))], 4.0)[0].problem)
    for finding in CHECKS["storage"](Site(fleet, needs_of(["run.dir=" + sys.argv[3]]), address)):
        print(finding.check, finding.state)
"""


@pytest.mark.skipif(not CAN_UNSHARE, reason="the same cluster")
def test_storage_that_is_shared_and_a_task_that_hangs(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS, cluster.ray.address, str(tmp_path / "pid"), str(tmp_path / "runs")]
    done = subprocess.run(command, env=cluster.ray.environment, capture_output=True, text=True, timeout=200)
    problem, *findings = done.stdout.splitlines()
    assert problem == "no answer in 4 s", done.stderr
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists(), "it is killed"
    shared = ["run.dir is writable ok"] * 2 + ["shared storage ok"] * 2 + ["flock ok", "rename ok"]
    assert findings == shared
    assert not (tmp_path / "runs").exists()
