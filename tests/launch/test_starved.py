"""A run in a cgroup that is too small for its batch: the kernel ends a rank, the next attempt takes half."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlgp_dist.config.load import resolve
from hlgp_dist.train.folder import RunFolder
from tests.jobs import written

pytestmark = pytest.mark.soak
GROUPS = Path("/sys/fs/cgroup/memory")
"""Version 1's: in version 2 a group of ours could not be limited where processes are beside it."""
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]
OPTIONS = {
    "data": {"kind": "synthetic", "classes": 4, "train_per_class": 48, "test_per_class": 4},
    "benchmark": {"init_cls": 2, "increment": 2},
    "backbone": {"name": "vit_tiny_patch16_224", "weights": "none"},
    "train": {"global_batch_size": 96, "epochs": 1},
    "alignment": {"kind": "none"},
    "evaluation": {"batch_size": 8},
}
"""A step of 96 takes 1.37 GB beyond what the process has, of 48 half of that."""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    folder = GROUPS / f"hlgp-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("needs root, and cgroups of version 1")
    yield folder
    deadline = time.monotonic() + 30
    while (folder / "cgroup.procs").read_text():  # multiprocessing's tracker leaves a moment after the command
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.05)
    folder.rmdir()


def test_a_rank_that_the_kernel_ends_goes_on_with_half(tmp_path: Path, group: Path) -> None:
    config = resolve(OPTIONS, [f"run.dir={tmp_path}", "run.name=run", f"data.cache_dir={tmp_path}/cache"]).config
    (group / "memory.limit_in_bytes").write_text("2000M")
    done = subprocess.run(
        [*HLGP, "train", str(written(config, tmp_path / "job.yaml"))],
        preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    attempts = RunFolder(tmp_path / "run").read_attempts()
    assert [(one["failure"], one["micro_batch_size"]) for one in attempts] == [("OutOfMemory", 96), (None, 48)]
    assert attempts[0]["reason"].startswith("out of memory: the kernel ended rank 0; lower engine.micro_batch_size, ")
