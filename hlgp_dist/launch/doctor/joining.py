"""Whether there is a Ray at an address, asked by a process that can be killed: Ray itself would wait for minutes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from hlgp_dist.launch.doctor.finding import Finding

CHECK = "cluster"
SECONDS = 30.0
CONNECT_SECONDS = 5.0
STATUS = (sys.executable, "-c", "from ray.scripts.scripts import main; main()", "status", "--address")
START = "Start it (`ray up`, `ray start --head`), or give launch.address or RAY_ADDRESS another one."
JOIN = "A job without launch.address starts its own Ray: join what runs here by launch.address=auto, or stop it."
AUTHORIZE = "Bring the cluster's ~/.ray/auth_token to this machine with mode 600, and export RAY_AUTH_MODE=token."


def status(address: str) -> tuple[int | None, str]:
    """Exit code and output of `ray status`, None where it had to be killed, or where nobody listens."""
    silence = _silence(address)
    return (None, silence) if silence is not None else _status(address, os.environ)


def _silence(address: str) -> str | None:
    """Why no connection to `host:port` is made; of another kind of address nothing is known."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return str(error.strerror or error)
    return None


def status_as_stranger(address: str) -> tuple[int | None, str]:
    """The same from an empty home, without a word of a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory() as home:
        return _status(address, kept | {"HOME": home})


def _status(address: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    try:
        done = subprocess.run(
            [*STATUS, address],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None, f"nothing answered in {SECONDS:g} s"
    return done.returncode, done.stdout


def is_refusal(output: str) -> bool:
    """Whether Ray asked for a token."""
    return "AuthenticationError" in output or "InvalidAuthToken" in output


def judge(address: str, exit_code: int | None, output: str) -> Finding | None:
    """None where the cluster answers."""
    if exit_code == 0:
        return None
    if is_refusal(output):
        return Finding(CHECK, "failed", f"the Ray at {address} does not know this machine's token", AUTHORIZE)
    told = ([line for line in output.splitlines() if line.strip()] or ["no answer"])[-1].strip()
    return Finding(CHECK, "failed", f"no Ray cluster at {address}: {told[:300]}", START)
