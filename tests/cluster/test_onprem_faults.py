"""Searches whose hosts die, come back, come late or lose their links, and end as the search left in peace.

Each has a cluster of its own, which takes minutes: `pytest -m soak tests/cluster`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.train.folder import RunFolder
from tests.cluster import bucket
from tests.cluster.host import HOME, Command
from tests.cluster.lan import slow_way
from tests.cluster.onprem import OnPrem, hosts_of, on_prem
from tests.cluster.tiny import RUN
from tests.jobs import step_values
from tests.results import MEASURED

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800), pytest.mark.usefixtures("needs_hosts")]
SEARCH = """
search: {space: {optimizer.prompt_lr: {grid: [0.01, 0.1]}}, num_samples: 1, scheduler: {kind: fifo}}
checkpoint: {every_steps: 5}
telemetry: {log_every_steps: 1}
"""
SPANNING = ("launch.num_workers=2", "train.epochs=40", "train.max_steps_per_task=400", "benchmark.max_tasks=3")
WAIT_SECONDS = 600
CUT_SECONDS = 20
VARYING = MEASURED | {"bytes_read", "seconds", "spent"}


def submitted(cluster: OnPrem) -> Command:
    (cluster.configs / "tiny.yaml").write_text(RUN + SEARCH)
    cluster.up()
    return submitted_again(cluster)


def submitted_again(cluster: OnPrem) -> Command:
    return cluster.submit("tune", "configs/tiny.yaml", "run.name=search", *SPANNING)


def folder_of(cluster: OnPrem) -> Path:
    return cluster.shared / "runs" / "search"


def trial_of(folder: Path, number: int) -> RunFolder:
    return RunFolder(folder / "trials" / f"trial-{number:05d}")


def wait_for(condition: Callable[[], object], search: Command) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert search.process.poll() is None, f"it ended by itself: {search.said()}"
        assert time.monotonic() < deadline, f"it does not happen: {search.said()}"
        time.sleep(0.1)


def wait_for_its_middle(search: Command, cluster: OnPrem, number: int = 0) -> RunFolder:
    """Of a trial: steps after its second task began."""
    trial = trial_of(folder_of(cluster), number)
    wait_for(lambda: any(trial.checkpoints.glob("task-01-step-*")), search)
    return trial


def assert_done(search: Command) -> None:
    code, said = search.wait(WAIT_SECONDS)
    assert code == 0, said
    assert "hlgp: exit code 0 (done)" in said


def lasting(result: Any) -> Any:
    """Without what depends on the hour and the machine."""
    if isinstance(result, dict):
        return {key: lasting(value) for key, value in result.items() if key not in VARYING}
    return [lasting(value) for value in result] if isinstance(result, list) else result


def assert_same(folder: Path, quiet: Path) -> None:
    """Bit for bit: what the search found, its trials and the winner's test; every step is recorded once."""
    assert outcome(folder) == outcome(quiet)
    for run in ("trials/trial-00000", "trials/trial-00001", "best"):
        assert lasting(RunFolder(folder / run).read_finished()) == lasting(RunFolder(quiet / run).read_finished())
        assert step_values(RunFolder(folder / run)) == step_values(RunFolder(quiet / run))


def outcome(folder: Path) -> Any:
    return lasting(json.loads((folder / "result.json").read_text()))


@pytest.fixture(scope="module")
def quiet(needs_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SEARCH/ of a search that nothing happened to."""
    with on_prem(tmp_path_factory.mktemp("quiet"), num_hosts=2) as cluster:
        assert_done(submitted(cluster))
        return folder_of(cluster)


@pytest.mark.parametrize("num_hosts", [3, 2], ids=["another host", "the same host, started again"])
def test_a_host_loses_power(num_hosts: int, quiet: Path, tmp_path: Path) -> None:
    """In the middle of a trial; the trial goes on at its last checkpoint, on other hosts or when it is back."""
    with on_prem(tmp_path, num_hosts) as cluster:
        search = submitted(cluster)
        trial = wait_for_its_middle(search, cluster)
        lost = next(name for name in hosts_of(trial.path) if name != "head")
        cluster.power_off(lost)
        if num_hosts == 2:
            time.sleep(5)
            cluster.boot(lost)
        assert_done(search)
    assert_same(folder_of(cluster), quiet)
    failures = [attempt["failure"] for attempt in trial.read_attempts()]
    assert failures[0] == "LostWorker" and failures[-1] is None
    assert (lost in hosts_of(trial.path)) == (num_hosts == 2)


def test_a_link_is_cut_and_healed(quiet: Path, tmp_path: Path) -> None:
    with on_prem(tmp_path, num_hosts=2) as cluster:
        search = submitted(cluster)
        wait_for_its_middle(search, cluster)
        cluster.lan.cut(cluster.hosts["worker-1"])
        time.sleep(CUT_SECONDS)
        cluster.lan.heal(cluster.hosts["worker-1"])
        assert_done(search)
    assert_same(folder_of(cluster), quiet)


def test_a_slow_link(quiet: Path, tmp_path: Path) -> None:
    way = slow_way()
    if way is None:
        pytest.skip("needs tc, and a kernel with netem or tbf")
    with on_prem(tmp_path, num_hosts=2) as cluster:
        cluster.lan.slow(cluster.hosts["worker-1"], way)
        assert_done(submitted(cluster))
    assert_same(folder_of(cluster), quiet)


def test_the_head_is_started_again(quiet: Path, tmp_path: Path) -> None:
    """In the middle of the second trial: `ray up` and the same `ray submit` finish it, and the first is not rerun."""
    with on_prem(tmp_path, num_hosts=2) as cluster:
        search = submitted(cluster)
        wait_for_its_middle(search, cluster, number=1)
        first = trial_of(folder_of(cluster), 0)
        before = (first.result.stat().st_mtime_ns, first.read_attempts())
        cluster.power_off("head")
        assert search.wait(WAIT_SECONDS).code != 0
        cluster.boot("head")
        cluster.up()
        assert_done(submitted_again(cluster))
    assert_same(folder_of(cluster), quiet)
    assert (first.result.stat().st_mtime_ns, first.read_attempts()) == before


def test_hosts_that_join_late(quiet: Path, tmp_path: Path) -> None:
    """The search begins with too few for a trial, and runs two at a time once there are four."""
    with on_prem(tmp_path, num_hosts=4, powered=1) as cluster:
        search = submitted(cluster)
        wait_for(lambda: "waiting for nodes to join" in search.said(), search)
        for name in ("worker-1", "worker-2", "worker-3"):
            cluster.boot(name)
        assert_done(search)
    assert_same(folder_of(cluster), quiet)
    (first,), (second,) = (trial_of(folder_of(cluster), number).read_attempts() for number in (0, 1))
    begun = [datetime.fromisoformat(attempt["started"]) for attempt in (first, second)]
    assert (begun[1] - begun[0]).total_seconds() < first["seconds"], "one after the other"
    assert hosts_of(trial_of(folder_of(cluster), 0).path).isdisjoint(hosts_of(trial_of(folder_of(cluster), 1).path))


def test_no_shared_folder_and_a_host_that_loses_power(quiet: Path, tmp_path: Path) -> None:
    """Shards and results in a bucket; curves are read on the head from there, as they grow, and come through ssh."""
    with on_prem(tmp_path, num_hosts=3, storage=bucket.URL, exports=bucket.EXPORTS) as cluster:
        bucket.start(cluster.desk)
        shutil.copytree(cluster.shared / "shards", cluster.desk.home / "shards")
        bucket.send(cluster.desk, Path(HOME) / "shards")
        search = submitted(cluster)
        board = cluster.start_ray("exec", "-p", "6006", cluster.file, "hlgp tensorboard $HLGP_STORAGE/runs/search")
        home = cluster.desk.home
        wait_for(lambda: "trials/trial-00000" in curves(cluster, board), search)
        bucket.fetch(cluster.desk, "runs", Path(HOME))
        trial = trial_of(home / "runs" / "search", 0)
        lost = next(name for name in hosts_of(trial.path) if name != "head")
        cluster.power_off(lost)
        assert_done(search)
        shutil.rmtree(home / "runs")
        bucket.fetch(cluster.desk, "runs", Path(HOME))
    assert_same(home / "runs" / "search", quiet)
    failures = [attempt["failure"] for attempt in trial.read_attempts()]
    assert failures[0] == "LostWorker" and failures[-1] is None
    assert lost not in hosts_of(trial.path)


def curves(cluster: OnPrem, board: Command) -> str:
    """What TensorBoard on the head says that there is, asked at the desk."""
    assert board.process.poll() is None, board.said()
    ask = ("curl", "--silent", "--fail", "http://127.0.0.1:6006/data/plugin/scalars/tags")
    return cluster.desk.run(*ask).said
