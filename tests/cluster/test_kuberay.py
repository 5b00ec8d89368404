"""cluster/kuberay-*.yaml: what KubeRay and Kubernetes accept, in step with the package, the image and submit.py."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from jsonschema import Draft202012Validator, ValidationError

from hlgp_dist import __version__
from hlgp_dist.config.identity import place_of
from hlgp_dist.config.load import resolve
from hlgp_dist.config.shared import Shared
from tests.cluster.host import REPOSITORY

KUBERNETES = "1.31"
SCHEMA = yaml.safe_load((REPOSITORY / "tests" / "cluster" / "kuberay.yaml").read_text())
IMAGE_FOLDER = "/opt/hlgp_dist"


def load(name: str) -> dict[str, Any]:
    """With copies in place of the anchors, so that a test may change one."""
    loaded = yaml.safe_load((REPOSITORY / "cluster" / f"kuberay-{name}.yaml").read_text())
    return dict(json.loads(json.dumps(loaded)))


@pytest.fixture(params=["job", "cluster"])
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"].get("rayClusterSpec", manifest["spec"]))


def ray_pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The templates of head and workers."""
    cluster = cluster_of(manifest)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    submitter = manifest["spec"].get("submitterPodTemplate")
    return [*ray_pods(manifest), *([submitter] if submitter else [])]


def check(manifest: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA | {"$ref": f"#/$defs/{manifest['kind']}"}).validate(manifest)
    for template in pods(manifest):
        check_kubernetes({"apiVersion": "v1", "kind": "PodTemplate", "template": template})


def check_kubernetes(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_kuberay_and_kubernetes_accept_it(manifest: dict[str, Any]) -> None:
    check(manifest)


@pytest.mark.parametrize("where", ["backofLimit", "authOption", "image_", "readOnly_"])
def test_an_unknown_key_is_refused_at_every_depth(where: str) -> None:
    manifest = load("job")
    container = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    {
        "backofLimit": manifest["spec"],
        "authOption": manifest["spec"]["rayClusterSpec"],
        "image_": container,
        "readOnly_": container["volumeMounts"][0],
    }[where][where] = 1
    with pytest.raises(ValidationError, match=where):
        check(manifest)


def test_versions_are_those_of_the_package(manifest: dict[str, Any]) -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert cluster_of(manifest)["rayVersion"] == pinned == ray.__version__
    images = {container["image"] for pod in pods(manifest) for container in pod["spec"]["containers"]}
    assert images == {f"hlgp_dist:{__version__}"}


def test_it_is_closed_to_strangers_and_runs_without_rights(manifest: dict[str, Any]) -> None:
    assert cluster_of(manifest)["authOptions"] == {"mode": "token"}
    for pod in pods(manifest):
        user = pod["spec"]["securityContext"]
        assert (user["runAsNonRoot"], user["runAsUser"]) == (True, 1000)
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_gpus_are_the_workers_alone(manifest: dict[str, Any]) -> None:
    cluster = cluster_of(manifest)
    head, *workers = ray_pods(manifest)
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in head["spec"]["containers"][0]["resources"]["limits"]
    for worker in workers:
        resources = worker["spec"]["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
        assert int(resources["limits"]["nvidia.com/gpu"]) >= 1
        assert [taint["key"] for taint in worker["spec"]["tolerations"]] == ["nvidia.com/gpu"]


def test_every_node_shares_the_storage_and_has_shared_memory(manifest: dict[str, Any]) -> None:
    dockerfile = (REPOSITORY / "docker" / "Dockerfile").read_text()
    (storage,) = re.findall(r"HLGP_STORAGE=(\S+)", dockerfile)
    for pod in ray_pods(manifest):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert "persistentVolumeClaim" in mounted[storage]
        assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"


def test_the_bill_is_bounded() -> None:
    job = load("job")["spec"]
    assert job["backoffLimit"] == 0, "a retry would be a new cluster"
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["activeDeadlineSeconds"] > 0
    for manifest in (load("job"), load("cluster")):
        for group in cluster_of(manifest)["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_its_job_is_one_that_submit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    python, script, verb, config, *overrides = shlex.split(load("job")["spec"]["entrypoint"])
    assert (python, script) == ("python", f"{IMAGE_FOLDER}/cluster/submit.py")
    assert f"HLGP_HOME={IMAGE_FOLDER}" in (REPOSITORY / "docker" / "Dockerfile").read_text()
    monkeypatch.setenv("HLGP_STORAGE", "/shared")
    resolved = resolve(REPOSITORY / config, overrides, Shared.of_environment()).config
    assert verb == "tune" and resolved.search is not None
    assert place_of(resolved, "vit_l16_search").startswith("/shared/runs/vit_l16_search-")


def test_the_guide_s_claim_is_the_manifests_one(manifest: dict[str, Any]) -> None:
    guide = (REPOSITORY / "docs" / "cluster" / "kuberay.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    claim = yaml.safe_load(text)
    check_kubernetes(claim)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    names = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes_of_claims(manifest)}
    assert names == {claim["metadata"]["name"]}


def volumes_of_claims(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    volumes = [volume for pod in ray_pods(manifest) for volume in pod["spec"]["volumes"]]
    return [volume for volume in volumes if "persistentVolumeClaim" in volume]
