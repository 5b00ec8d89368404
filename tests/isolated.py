"""A small machine for one test: in it no process, port, shared memory or temporary file is anybody else's.

What runs there goes with it, so a test may kill what it finds, and what it finds at its end is what was left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
UNSHARE = ("unshare", "--map-root-user", "--pid", "--mount", "--net", "--ipc", "--mount-proc", "--fork", "--kill-child")
RAY, TEMPORARY, SHARED_MEMORY = Path("/run/ray"), Path("/run/tmp"), Path("/dev/shm")
SETUP = """
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm && mkdir /run/home /run/tmp && ip link set lo up && "$@"
exit $?
"""
"""The shell stays, and reaps what loses its parent."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LISTENS = "0A"


def run_isolated(module: str, *arguments: object, seconds: float) -> int:
    """The exit code of `python -m MODULE ARGUMENTS`, whose output is this process's."""
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}", "PYTHONPATH": str(REPOSITORY)}
    environment |= {"HOME": "/run/home", "TMPDIR": str(TEMPORARY), "RAY_AUTH_MODE": "disabled"}
    environment |= {"RAY_raylet_start_wait_time_s": "120", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    command = [*UNSHARE, "sh", "-c", SETUP, "sh", sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait(seconds)
    finally:
        process.kill()  # and all that is inside with it
        process.wait()


def why_not() -> str | None:
    """Why there can be no such machine here, or None."""
    tried = subprocess.run([*UNSHARE, "sh", "-c", SETUP, "sh", "true"], capture_output=True, text=True)
    return f"needs namespaces and iproute2: {tried.stderr.strip()}" if tried.returncode else None


class Process(NamedTuple):
    """One that lives; command: as it calls itself now."""

    number: int
    command: str

    def kill(self) -> bool:
        """Whether it was there to be killed."""
        try:
            os.kill(self.number, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def processes() -> list[Process]:
    """All but this one and the shell above it; one that has ended and was not waited for has no command."""
    ours = {1, os.getpid()}
    found = [Process(int(path.name), _command(path)) for path in Path("/proc").glob("[0-9]*")]
    return sorted(each for each in found if each.number not in ours and each.command)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def listening_ports() -> set[int]:
    return set(_listening("tcp")) | set(_listening("tcp6"))


def _listening(protocol: str) -> Iterator[int]:
    for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
        _, local, _, state = line.split()[:4]
        if state == LISTENS:
            yield int(local.rpartition(":")[2], 16)
