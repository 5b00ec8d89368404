"""docker/: what can be checked without an engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from hlgp_dist import __version__
from tests.cluster.host import REPOSITORY

DOCKER = REPOSITORY / "docker"


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def test_the_tag_is_the_version(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    assert images == {f"hlgp_dist:{__version__}"}
    assert f"--tag hlgp_dist:{__version__} " in (DOCKER / "Dockerfile").read_text()


def test_the_build_context_holds_what_is_copied() -> None:
    kept = re.findall(r"^!(\S+)", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    lines = re.findall(r"^COPY --chown=hlgp (.+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source.partition("/")[0] for line in lines for source in line.split()[:-1]}
    assert copied == set(kept)
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []


def test_the_image_runs_without_rights() -> None:
    users = re.findall(r"^USER (\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["hlgp"]


def test_ray_is_closed_to_strangers(compose: dict[str, Any]) -> None:
    assert "RAY_AUTH_MODE=token" in (DOCKER / "Dockerfile").read_text()
    for service in compose["services"].values():
        assert service["secrets"] == ["ray_auth_token"]
        assert service["environment"] == {"RAY_AUTH_TOKEN_PATH": "/run/secrets/ray_auth_token"}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
