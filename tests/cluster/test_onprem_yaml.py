"""cluster/onprem.yaml, judged by the Ray that is installed."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from jsonschema import ValidationError, validate
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.host import REPOSITORY

SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


@pytest.fixture
def cluster() -> dict[str, Any]:
    return dict(yaml.safe_load((REPOSITORY / "cluster" / "onprem.yaml").read_text()))


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate(cluster, SCHEMA)
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert prepared["max_workers"] == len(cluster["provider"]["worker_ips"]), "every listed machine joins"


def test_ray_would_refuse_an_unknown_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="min_workers"):
        validate(cluster | {"min_workers": 1}, SCHEMA)


def test_what_it_mounts_is_in_the_repository(cluster: dict[str, Any]) -> None:
    mounted = [path for path in cluster["file_mounts"].values() if not path.startswith("~")]
    assert [path for path in mounted if not (REPOSITORY / path).exists()] == []


def test_every_node_gets_the_token_and_asks_for_it(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    commands = cluster["setup_commands"]
    assert any("chmod 600 ~/.ray/auth_token" in command for command in commands)
    assert any("RAY_AUTH_MODE=token" in command for command in commands)
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_its_commands_are_shell(cluster: dict[str, Any]) -> None:
    names = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    commands = [command for name in names for command in cluster[name]]
    refused = [c for c in commands if subprocess.run(["bash", "-n", "-c", c], check=False).returncode != 0]
    assert refused == []


def test_the_environment_file_can_be_set_up_twice(cluster: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "hlgp_dist").mkdir()
    (tmp_path / ".bashrc").write_text("export MINE='a  b'\n")
    commands = [command for command in cluster["setup_commands"] if "env.sh" in command]
    for command in commands * 2:
        subprocess.run(["bash", "-c", command], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert (tmp_path / ".bashrc").read_text() == ". ~/hlgp_dist/env.sh\nexport MINE='a  b'\n"
    shown = subprocess.run(
        ["bash", "-c", ". ~/.bashrc; echo $RAY_AUTH_MODE $MINE ${PATH%%:*}"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["token", "a", "b", f"{tmp_path}/hlgp_dist/.venv/bin"]
