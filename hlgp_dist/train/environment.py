"""env.json: where a number was made, written by the first rank there."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hlgp_dist.cores import usable_cores
from hlgp_dist.engine.collectives import gather_text
from hlgp_dist.files import write_json, write_text
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import WorkerContext

PACKAGES = ("hlgp_dist", "torch", "torchvision", "deepspeed", "timm", "webdataset", "ray", "tensorboard", "numpy")


def record_environment(folder: RunFolder, context: WorkerContext) -> None:
    """Write env.json; that of an attempt elsewhere stays beside the logs. Every rank calls it, the first writes."""
    devices = gather_text(device_name(context.device))
    if context.world.rank > 0:
        return
    earlier = folder.environment.read_text() if folder.environment.is_file() else None
    write_json(folder.environment, environment() | {"devices": devices})
    if earlier is not None and earlier != folder.environment.read_text():
        number = len(list(folder.logs.glob("env-*.json")))
        write_text(folder.logs / f"env-{number:03d}.json", earlier)


def device_name(device: str) -> str:
    """What a rank computes on."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def environment() -> dict[str, object]:
    """This machine, versions and commit; nothing secret and no environment variable."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "usable_cores": usable_cores(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _commit(),
    }


def code_hash() -> str:
    """Of every module's text."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this code runs from, None for an installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
