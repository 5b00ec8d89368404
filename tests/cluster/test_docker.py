"""docker/: what can be checked without an engine."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hlgp_dist import __version__
from tests.cluster.host import REPOSITORY

DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"])


def test_the_tag_is_the_version(services: dict[str, dict[str, Any]]) -> None:
    assert {service["image"] for service in services.values()} == {f"hlgp_dist:{__version__}"}
    assert f"--tag hlgp_dist:{__version__} " in DOCKERFILE
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE


def test_the_build_context_holds_what_is_copied() -> None:
    kept = re.findall(r"^!(\S+)", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    lines = re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
    copied = {source.partition("/")[0] for line in lines for source in line.split()[:-1]}
    assert copied == set(kept)
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []


def test_every_stage_has_the_base_that_was_asked_for() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert stages == ["${BASE}", "python", "python"]
    assert "ARG BASE=debian:" in DOCKERFILE


def test_the_image_is_pinned_and_runs_without_rights() -> None:
    assert "--constraint constraints.txt" in DOCKERFILE
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["1000"], "a number, which Kubernetes can tell from root"
    assert "--chown" not in DOCKERFILE, "a job cannot change what runs"


def test_ray_is_closed_to_strangers(services: dict[str, dict[str, Any]]) -> None:
    assert "RAY_AUTH_MODE=token" in DOCKERFILE
    for name, service in services.items():
        if name != "tensorboard":
            assert service["secrets"] == ["ray_auth_token"]
            assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_auth_token"
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_is_no_node_has_another_health_check(services: dict[str, dict[str, Any]]) -> None:
    """The image's own asks Ray's agent, and `depends_on` waits for it."""
    assert "HEALTHCHECK" in DOCKERFILE
    nodes = {name for name, service in services.items() if service.get("command", "").startswith("ray start")}
    assert nodes == {"head", "worker"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == nodes


def test_its_commands_exist(services: dict[str, dict[str, Any]]) -> None:
    words = [shlex.split(service.get("entrypoint", service["command"])) for service in services.values()]
    programs = {line[0] for line in words}
    assert programs == {"ray", "tensorboard"}
    assert all((Path(sys.prefix) / "bin" / program).is_file() for program in programs)
    (script,) = [word for line in words for word in line if word.endswith("submit.py")]
    assert script == "/opt/hlgp_dist/cluster/submit.py"
