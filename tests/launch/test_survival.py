"""Runs that lose ranks, memory or patience, and end as the run left in peace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from hlgp_dist.launch.start import start_run
from hlgp_dist.train.checkpoint import newest_place
from hlgp_dist.train.folder import RunFolder
from tests.failing import Fault, inject
from tests.jobs import job, step_values, written
from tests.ranks import Ranks
from tests.results import unmeasured
from tests.train.test_other_ranks import assert_equal

pytestmark = pytest.mark.timeout(900)
"""Many processes start, which takes minutes where others use the cores."""
OPTIONS = ("train.epochs=8", "benchmark.max_tasks=4", "checkpoint.every_steps=2", "launch.num_workers=2")
WAIT_SECONDS = 200
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]


@pytest.fixture(scope="module")
def quiet(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    folder, codes = ranks.run(job(drawn, tmp_path_factory.mktemp("quiet") / "run", *OPTIONS))
    assert codes == [0, 0]
    return folder


def assert_same(folder: RunFolder, quiet: RunFolder) -> None:
    """Bit for bit, and every step is recorded once."""
    assert unmeasured(folder) == unmeasured(quiet)
    assert step_values(folder) == step_values(quiet)


def test_a_killed_and_a_sleeping_rank(
    drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, tmp_path / "faults", Fault("kill", 1, 1, 3), Fault("sleep", 0, 2, 5))
    folder, result = start_run(job(drawn, tmp_path / "run", *OPTIONS, "launch.hang_seconds=12"), "job")
    assert_same(folder, quiet)
    killed, hung = result["attempts"]
    assert killed["failure"] == "LostWorker" and killed["reason"].startswith("rank 1 was killed by SIGKILL")
    assert hung["failure"] == "HungWorker"
    assert re.fullmatch(r"rank 0 on \S+ silent for \d+ s in task 2 step 6; stacks in logs/", hung["reason"])
    assert "in _fail" in (folder.logs / "rank-000.stacks.txt").read_text()
    assert "all_reduce" in (folder.logs / "rank-001.stacks.txt").read_text()
    assert [attempt["attempt"] for attempt in folder.read_attempts()] == [1, 2, 3]


def test_a_rank_out_of_memory(drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others only notice that it has gone; all of them go on in smaller micro-batches."""
    inject(monkeypatch, tmp_path / "faults", Fault("memory", 1, 1, 3))
    folder, result = start_run(job(drawn, tmp_path / "run", *OPTIONS), "job")
    assert [(one["failure"], one["micro_batch_size"]) for one in folder.read_attempts()] == [
        ("OutOfMemory", 8),
        (None, 4),
    ]
    assert result["attempts"][0]["reason"].startswith("out of memory: injected")
    changes = (folder.logs / "changes.log").read_text()
    assert "engine.micro_batch_size: None -> 4" in changes and "evaluation.batch_size: 128 -> 64" in changes
    assert_equal(folder, quiet)


def test_what_a_device_was_found_to_hold_is_halved_too(
    drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inject(monkeypatch, tmp_path / "faults", Fault("memory", 1, 1, 3))
    folder, _ = start_run(job(drawn, tmp_path / "run", *OPTIONS, "engine.micro_batch_size=auto"), "job")
    assert [(one["failure"], one["micro_batch_size"]) for one in folder.read_attempts()] == [
        ("OutOfMemory", 8),
        (None, 4),
    ]
    assert "engine.micro_batch_size: auto -> 4" in (folder.logs / "changes.log").read_text()
    (file,) = (tmp_path / "cache").rglob("batch_sizes/*.json")
    sizes = json.loads(file.read_text())["sizes"]
    assert (sizes["micro_batch"], sizes["evaluation_batch"]) == (4, 64)
    assert_equal(folder, quiet)


def wait_for(condition: Callable[[], object], command: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert command.poll() is None, f"it ended by itself: {command.communicate()}"
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def process_of(folder: RunFolder, rank: int) -> int:
    """Of the latest attempt."""
    return int(re.findall(r"process (\d+) of", (folder.logs / f"rank-{rank:03d}.log").read_text())[-1])


def start(config_file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*HLGP, "train", str(config_file)], stderr=subprocess.PIPE, text=True)


@pytest.mark.soak
def test_a_killed_rank_and_a_stopped_driver_under_ray(drawn: Path, tmp_path: Path, quiet: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    config_file = written(job(drawn, folder.path, *OPTIONS, "launch.kind=ray"), tmp_path / "job.yaml")
    command = start(config_file)
    wait_for(lambda: any(folder.checkpoints.glob("task-01-step-00000[2-9]")), command)
    killed = process_of(folder, 1)
    os.kill(killed, signal.SIGKILL)
    wait_for((folder.logs / "attempts" / "002" / "rank-000").exists, command)
    before = newest_place(folder.checkpoints)
    command.send_signal(signal.SIGTERM)
    _, message = command.communicate(timeout=WAIT_SECONDS)
    assert command.returncode == 75, message
    stopped = folder.read_result()
    assert stopped is not None and "stopped by a signal" in stopped["reason"]
    assert before < newest_place(folder.checkpoints), "the ranks saved before they left"
    command = start(config_file)
    _, message = command.communicate(timeout=WAIT_SECONDS)
    assert command.returncode == 0, message
    assert_same(folder, quiet)
    attempts = folder.read_attempts()
    assert [one["failure"] for one in attempts] == ["LostWorker", "Interrupted", None]
    assert attempts[0]["reason"].startswith("rank 1 was lost: ")


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A head and a node of one core each, and the latter."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
    try:
        yield cluster, cluster.add_node(num_cpus=1)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.soak
@pytest.mark.parametrize("drained", [False, True])
def test_a_node_that_goes_for_good(drained: bool, drawn: Path, tmp_path: Path, quiet: RunFolder) -> None:
    """The other one goes on alone; where there was a notice, no step is done twice."""
    folder = RunFolder(tmp_path / "run")
    with two_nodes() as (cluster, node):
        options = ("launch.kind=ray", f"launch.address={cluster.address}", "launch.elastic=true")
        longer = ("launch.wait_seconds=10", "telemetry.log_every_steps=1")
        config_file = written(job(drawn, folder.path, *OPTIONS, *options, *longer), tmp_path / "job.yaml")
        command = start(config_file)
        wait_for(lambda: any(folder.checkpoints.glob("task-01-step-00000[2-9]")), command)
        if drained:
            drain(cluster, node)
            wait_for(lambda: len(folder.read_attempts()) > 0, command)
        cluster.remove_node(node, allow_graceful=False)
        _, message = command.communicate(timeout=WAIT_SECONDS)
    assert command.returncode == 0, message
    workers = [one["workers"] for one in folder.read_attempts()]
    assert (workers[0], workers[-1]) == (2, 1), "in between Ray may not yet know that the node has gone"
    assert folder.read_attempts()[0]["failure"] == ("Preempted" if drained else "LostWorker")
    assert_equal(folder, quiet)


def drain(cluster: Cluster, node: Any) -> None:
    """The notice that a cloud gives before it takes a machine back."""
    minute = int((time.time() + 60) * 1000)
    preemption = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address=cluster.address).drain_node(node.node_id, preemption, "a test", minute)
    assert accepted, why


@pytest.mark.soak
def test_a_stopped_rank_and_sigterm_at_one_under_ray(
    drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped writes no stacks, and is named for it; SIGTERM has all ranks save, and none is waited for."""
    inject(monkeypatch, tmp_path / "faults", Fault("stop", 1, 1, 3), Fault("term", 0, 2, 5))
    config = job(drawn, tmp_path / "run", *OPTIONS, "launch.kind=ray", "launch.hang_seconds=20")
    folder, result = start_run(config, "job")
    stopped, told = result["attempts"]
    assert re.match(
        r"rank 1 on \S+ silent for \d+ s and stopped, last heard in .*; stacks in logs/",
        stopped["reason"],
    )
    assert "all_reduce" in (folder.logs / "rank-000.stacks.txt").read_text()
    assert told["failure"] == "Preempted"
    assert_same(folder, quiet)
