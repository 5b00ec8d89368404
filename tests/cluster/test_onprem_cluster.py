"""`ray up`, `ray submit` of a search whose trials span two hosts, and `ray down`: over ssh, in namespaces."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.curves import Curves
from tests.cluster.host import HOME
from tests.cluster.onprem import OnPrem, hosts_of, on_prem
from tests.cluster.tiny import RUN

SEARCH = RUN + "search: {space: {optimizer.prompt_lr: {grid: [0.01, 0.1]}}, num_samples: 1, scheduler: {kind: fifo}}\n"
READABLE_SECONDS = 30


@pytest.fixture
def cluster(tmp_path: Path, needs_hosts: None) -> Iterator[OnPrem]:
    with on_prem(tmp_path, num_hosts=2) as cluster:
        (cluster.configs / "tiny.yaml").write_text(SEARCH)
        yield cluster


def assert_strangers_are_refused(cluster: OnPrem) -> None:
    status = ("ray", "status", "--address", f"{cluster.hosts['head'].address}:6379")
    member = cluster.desk.run(*status, env={"RAY_AUTH_MODE": "token"})
    assert member.code == 0, member.said
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another-0123456789abcdef"}
    for env in ({}, wrong):
        stranger = cluster.desk.run(*status, env={"HOME": "/tmp", **env})
        assert stranger.code != 0, "a client without the token was let in"
        assert "uthentication" in stranger.said, stranger.said


def assert_tensorboard_is_reached_through_ssh(cluster: OnPrem) -> None:
    """By the guide's command: on the head, on loopback, and from the desk."""
    board = cluster.start_ray("exec", "-p", "6006", cluster.file, "hlgp tensorboard $HLGP_STORAGE/runs/first")
    ask = ("curl", "--silent", "--fail", "http://127.0.0.1:6006/data/plugin/scalars/tags")
    for _ in range(60):
        answer = cluster.desk.run(*ask)
        if answer.code == 0 and "best" in answer.said:
            break
        assert board.process.poll() is None, board.said()
        time.sleep(1)
    assert {"best", "trials/trial-00000", "trials/trial-00001"} <= {
        str(Path(run).parent) for run in json.loads(answer.said)
    }
    away = cluster.desk.run("curl", "--silent", f"http://{cluster.hosts['head'].address}:6006/")
    assert away.code != 0, "TensorBoard listens on more than loopback"


@pytest.mark.timeout(900)  # two minutes of work; the rest is for machines that are shared
def test_a_search_whose_trials_span_hosts(cluster: OnPrem) -> None:
    cluster.up()
    assert (cluster.hosts["head"].home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert_strangers_are_refused(cluster)

    refused = cluster.submit("tune", "configs/tiny.yaml", "train.epochs=[1]").wait(120)
    assert refused.code == 1, "ray submit turns every failure into 1"
    assert "submit: exit code 2" in refused.said, refused.said

    folder = cluster.shared / "runs" / "first"
    search = cluster.submit("tune", "configs/tiny.yaml", "run.name=first", "launch.num_workers=2")
    curves = Curves(folder)
    while search.process.poll() is None:
        curves.look()
        time.sleep(1)
    assert search.process.returncode == 0, search.said()
    assert "hlgp: exit code 0 (done)" in search.said()
    result = json.loads((folder / "result.json").read_text())
    assert [trial["status"] for trial in result["trials"]] == ["done", "done"]
    runs = [folder / "best", *folder.glob("trials/*")]
    assert all(hosts_of(run) == {"head", "worker-1"} for run in runs)
    assert curves.longest.keys() == {run.name for run in runs}
    assert max(curves.longest.values()) < READABLE_SECONDS
    assert_tensorboard_is_reached_through_ssh(cluster)

    fetched = cluster.ray("rsync-down", cluster.file, "/shared/hlgp/runs/first/result.json", f"{HOME}/result.json")
    assert fetched.code == 0, fetched.said
    assert json.loads((cluster.desk.home / "result.json").read_text()) == result

    down = cluster.ray("down", "--yes", cluster.file)
    assert down.code == 0, down.said
    left = [line for line in cluster.hosts["head"].processes() if "/ray/" in line or line.startswith("ray")]
    assert left == []
