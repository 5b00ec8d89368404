"""cluster/{onprem,aws,gcp}.yaml, judged by the Ray that is installed and by the clouds' own descriptions."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import boto3
import googleapiclient
import moto
import pytest
import ray.autoscaler
import yaml
from jsonschema import Draft202012Validator, ValidationError, validate
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.host import REPOSITORY

SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
CLOUDS = ["aws", "gcp"]


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((REPOSITORY / "cluster" / f"{name}.yaml").read_text()))


@pytest.fixture(params=["onprem", *CLOUDS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cluster(name: str) -> dict[str, Any]:
    return load(name)


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate(cluster, SCHEMA)
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_would_refuse_an_unknown_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="min_workers"):
        validate(cluster | {"min_workers": 1}, SCHEMA)


def test_every_listed_machine_joins() -> None:
    cluster = load("onprem")
    assert prepare_config(copy.deepcopy(cluster))["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_what_it_mounts_is_in_the_repository(cluster: dict[str, Any]) -> None:
    mounted = [path for path in cluster["file_mounts"].values() if not path.startswith("~")]
    assert [path for path in mounted if not (REPOSITORY / path).exists()] == []


def test_every_cluster_gets_the_same_files() -> None:
    assert load("aws")["file_mounts"] == load("gcp")["file_mounts"] == load("onprem")["file_mounts"]


def test_every_node_gets_the_token_and_asks_for_it(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    commands = cluster["setup_commands"]
    assert any("chmod 600 ~/.ray/auth_token" in command for command in commands)
    assert any("RAY_AUTH_MODE=token" in command for command in commands)
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_it_installs_what_the_package_offers(cluster: dict[str, Any]) -> None:
    offered = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install = cluster["setup_commands"][-1]
    (extras,) = re.findall(r"--constraint constraints\.txt --editable '\.\[(.+)\]'$", install)
    assert set(extras.split(",")) <= set(offered)


def test_its_own_commands_name_it(name: str) -> None:
    comments = re.findall(r"^# .*", (REPOSITORY / "cluster" / f"{name}.yaml").read_text(), re.MULTILINE)
    files = {file for line in comments for file in re.findall(r"cluster/\w+\.(?:yaml|md)", line)}
    assert files == {f"cluster/{name}.yaml", f"cluster/{name}.md"}
    assert (REPOSITORY / "docs" / "cluster" / f"{name}.md").is_file()


def test_its_commands_are_shell(cluster: dict[str, Any]) -> None:
    commands = [command for key in cluster if key.endswith("_commands") for command in cluster[key]]
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
        ["bash", "-c", ". ~/.bashrc; echo $RAY_AUTH_MODE $HLGP_STORAGE $MINE ${PATH%%:*}"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["token", "/shared/hlgp", "a", "b", f"{tmp_path}/hlgp_dist/.venv/bin"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_bill_is_bounded(cloud: str) -> None:
    cluster = load(cloud)
    head, worker = (cluster["available_node_types"][kind] for kind in ("head", "worker"))
    assert head["resources"] == {"CPU": 0}, "no rank on the machine that must stay"
    assert head["max_workers"] == 0
    assert worker["resources"]["GPU"] >= 1
    assert worker["min_workers"] <= worker["max_workers"] <= cluster["max_workers"]
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_aws_starts_an_on_demand_head_and_spot_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own bootstrap and launch, against moto's EC2 and IAM; boto3 refuses what the API does not know."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test-only")
    cluster = load("aws")
    with moto.mock_aws():
        iam = boto3.client("iam")  # an account that has used Ray before: it waits 15 s for what it makes here
        iam.create_role(RoleName="ray-autoscaler-v1", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="ray-autoscaler-v1")
        iam.add_role_to_instance_profile(InstanceProfileName="ray-autoscaler-v1", RoleName="ray-autoscaler-v1")
        ec2 = boto3.client("ec2", region_name=cluster["provider"]["region"])
        ready = bootstrap_aws(prepare_config(cluster))
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        for kind, options in ready["available_node_types"].items():
            provider.create_node(options["node_config"], {"ray-node-name": kind}, 1)
        found = [one for each in ec2.describe_instances()["Reservations"] for one in each["Instances"]]
        (group,) = {each["GroupName"] for one in found for each in one["SecurityGroups"]}
    started = {tag["Value"]: one for one in found for tag in one["Tags"] if tag["Key"] == "Name"}
    assert started["head"].get("InstanceLifecycle") is None
    assert started["worker"]["InstanceLifecycle"] == "spot"
    assert "Arn" in ready["head_node"]["IamInstanceProfile"], "it starts the workers"
    assert group == "ray-autoscaler-hlgp", "what the mount target lets in, as the file says"


def test_google_would_refuse_no_key_of_its_machines() -> None:
    """By the description of the Compute API that Google's client carries."""
    machine = _compute_validator("Instance")
    for kind in load("gcp")["available_node_types"].values():
        machine.validate(kind["node_config"])
    with pytest.raises(ValidationError, match="preemptable"):
        machine.validate({"scheduling": {"preemptable": True}})
    with pytest.raises(ValidationError, match="is not of type 'object'"):
        machine.validate({"scheduling": [{"preemptible": True}]})


def _compute_validator(kind: str) -> Draft202012Validator:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text(), object_hook=_strict)["schemas"]
    return Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schemas})


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    """Google's form of JSON schema in the standard's: references by pointer, and no other key than those listed."""
    if isinstance(node.get("$ref"), str):
        return {"$ref": f"#/$defs/{node['$ref']}"}
    return node | {"additionalProperties": False} if node.get("type") == "object" and "properties" in node else node


def test_google_keeps_the_head_and_may_take_the_workers() -> None:
    head, worker = (load("gcp")["available_node_types"][kind]["node_config"] for kind in ("head", "worker"))
    assert "scheduling" not in head
    assert worker["scheduling"]["provisioningModel"] == "SPOT"
