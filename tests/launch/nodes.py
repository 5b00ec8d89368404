"""A Ray cluster that outlives searches: a head that runs no rank, and nodes that are replaced when they die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from tests.isolated import RAY

HOST, PORT = "127.0.0.1", 6379
ADDRESS = f"{HOST}:{PORT}"
START = (sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block")
SMALL = (f"--node-ip-address={HOST}", "--object-store-memory=80000000")
HEAD = ("--head", f"--port={PORT}", "--num-cpus=0", f"--temp-dir={RAY}", "--include-dashboard=false")
LOG = Path("/run/ray.log")
START_SECONDS = 180


class Nodes:
    """Up from construction to `close`, on the machine of `isolated`."""

    def __init__(self, count: int, cpus: int) -> None:
        self._cpus = cpus
        self._head = _start(*HEAD)
        _wait(_is_reachable)
        _wait(living)
        self._others = [self._add() for _ in range(count)]

    def _add(self) -> subprocess.Popen[bytes]:
        """One after the other: at the same moment two would take the same names for their sockets."""
        before = living()
        node = _start(f"--address={ADDRESS}", f"--num-cpus={self._cpus}")
        _wait(lambda: living() - before or node.poll() is not None)
        return node

    def replace_lost(self) -> None:
        """A node whose raylet has gone, or did not come up, ends by itself."""
        self._others = [node if node.poll() is None else self._add() for node in self._others]

    def lose_one(self) -> None:
        """As when a machine loses its power."""
        os.killpg(self._others[-1].pid, signal.SIGKILL)
        self._others[-1].wait()

    def close(self) -> None:
        for node in (*self._others, self._head):
            node.send_signal(signal.SIGTERM)
        for node in (*self._others, self._head):
            node.wait(START_SECONDS)


def _start(*options: str) -> subprocess.Popen[bytes]:
    with LOG.open("a") as log:
        return subprocess.Popen([*START, *SMALL, *options], stdout=log, stderr=log, start_new_session=True)


def _is_reachable() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, PORT)) == 0


def living() -> set[bytes]:
    nodes = GcsClient(address=ADDRESS).get_all_node_info()
    return {name.binary() for name, node in nodes.items() if node.state == GcsNodeInfo.ALIVE}


def _wait(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, LOG.read_text()[-2000:]
        time.sleep(0.2)
