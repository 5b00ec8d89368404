"""A file system of a few MiB at a folder, of Linux, for the processes of one command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run_on_small_disk(folder: Path, size: str, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python script for which `folder` is an empty file system of `size`, e.g. 1m; else skip the test."""
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    own += [f'mount -t tmpfs -o size={size} none {folder} && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("no file systems of our own here")
    command = [*own, sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
