"""`ray up`, `ray submit` of a search and `ray down`, really, to a machine of namespaces over ssh."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hlgp_dist.shards.shard import shard
from tests.cluster.host import REPOSITORY, Host, missing
from tests.cluster.tiny import RUN

ADDRESS = "10.77.0.1"
SEARCH = RUN + "search: {space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}, num_samples: 2}\n"
TOKEN = "test-only-0123456789abcdef"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    host = Host(ADDRESS, tmp_path / "head")
    yield host
    host.close()


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home of who calls `ray up`, with the token in it."""
    token = tmp_path / "user" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN)
    token.chmod(0o600)
    return tmp_path / "user"


@pytest.fixture
def cluster_file(host: Host, user: Path, tmp_path: Path) -> str:
    """The shipped file with its EDIT lines edited, and packages borrowed from this test in place of `pip install`."""
    cluster = yaml.safe_load((REPOSITORY / "cluster" / "onprem.yaml").read_text())
    cluster["provider"] |= {"head_ip": ADDRESS, "worker_ips": []}
    cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(host.work / "key")}
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "tiny.yaml").write_text(SEARCH)
    cluster["file_mounts"]["~/hlgp_dist/configs"] = str(configs)
    (host.home / "hlgp_dist").mkdir()
    (host.home / "hlgp_dist" / ".venv").symlink_to(sys.prefix)
    *others, install = cluster["setup_commands"]
    assert "pip install" in install
    cluster["setup_commands"] = [*others, "echo 'export PYTHONPATH=~/hlgp_dist' >> ~/hlgp_dist/env.sh"]
    text = yaml.safe_dump(cluster).replace("/shared/hlgp", str(tmp_path / "shared"))
    (tmp_path / "onprem.yaml").write_text(text)
    return str(tmp_path / "onprem.yaml")


@pytest.mark.timeout(600)  # under a minute of work; the rest is for machines that are shared
def test_a_search_on_a_cluster_over_ssh(host: Host, user: Path, cluster_file: str, tmp_path: Path) -> None:
    shard(REPOSITORY / "hlgp_dist" / "embedded" / "digits.tar", tmp_path / "shared" / "shards", workers=1)

    up = host.run("ray", "up", "--yes", "--disable-usage-stats", cluster_file, home=user)
    assert up.returncode == 0, up.stdout
    assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600

    status = ("ray", "status", "--address", f"{ADDRESS}:6379")
    member = host.run(*status, home=user, env={"RAY_AUTH_MODE": "token"})
    assert member.returncode == 0, member.stdout
    strangers_home = tmp_path / "stranger"
    strangers_home.mkdir()
    for env in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another-0123456789abcdef"}):
        stranger = host.run(*status, home=strangers_home, env=env)
        assert stranger.returncode != 0, "a client without the token was let in"
        assert "uthentication" in stranger.stdout, stranger.stdout

    submit = ("ray", "submit", "--disable-usage-stats", cluster_file, "cluster/submit.py", "--", "tune")
    refused = host.run(*submit, "configs/tiny.yaml", "train.epochs=[1]", home=user)
    assert refused.returncode == 1, "ray submit turns every failure into 1"
    assert "submit: exit code 2" in refused.stdout, refused.stdout

    done = host.run(*submit, "configs/tiny.yaml", "run.name=first", "optimizer.head_lr=1e-2", home=user, seconds=400)
    assert done.returncode == 0, done.stdout
    assert "submit: exit code 0 (done)" in done.stdout
    result = json.loads((tmp_path / "shared" / "runs" / "first" / "result.json").read_text())
    assert [trial["status"] for trial in result["trials"]].count("done") >= 1

    down = host.run("ray", "down", "--yes", cluster_file, home=user)
    assert down.returncode == 0, down.stdout
    left = [line for line in host.processes() if "/ray/" in line or line.startswith("ray")]
    assert left == []
