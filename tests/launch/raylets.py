"""A Ray of two nodes on this machine, with a token, a home and ports of its own; the second may have other storage."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hlgp_dist.ports import free_port

RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
SMALL = ("--num-cpus=1", "--object-store-memory=80000000", "--node-ip-address=127.0.0.1", "--block")
START_SECONDS = 60


class Raylets:
    """Up from construction to `close`. apart: a folder that is another one, an empty one, on the second node."""

    def __init__(self, home: Path, apart: Path) -> None:
        (home / ".ray").mkdir(parents=True)
        token = home / ".ray" / "auth_token"
        token.write_text("0123456789abcdef" * 4)
        token.chmod(0o600)
        self.environment = os.environ | {"HOME": str(home), "RAY_AUTH_MODE": "token"}
        self.environment.pop("RAY_ADDRESS", None)
        self.address, self._log = f"127.0.0.1:{free_port()}", home / "ray.log"
        self._session = Path(f"/tmp/hlgp-{os.getpid()}")  # sockets below it: their names may not be long
        port = self.address.rpartition(":")[2]
        head = ("--head", f"--port={port}", f"--temp-dir={self._session}", "--include-dashboard=false")
        self._nodes = [self._start(*RAY, "start", *head, *SMALL)]
        self._wait(self._is_reachable)
        script = f'mount -t tmpfs tmpfs "{apart}" && exec "$@"'
        elsewhere = ("unshare", "--mount", "sh", "-c", script, "sh")
        self._nodes.append(self._start(*elsewhere, *RAY, "start", f"--address={self.address}", *SMALL))
        self._wait(lambda: self._log.read_text().count("Ray runtime started.") == 2)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("a") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def _is_reachable(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def _wait(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_so():
            if time.monotonic() > deadline or any(node.poll() is not None for node in self._nodes):
                self.close()
                raise AssertionError(f"a node did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def close(self) -> None:
        """`ray start --block` ends what it started; what stays of its session is killed."""
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for node in self._nodes:
            try:
                node.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()
        shutil.rmtree(self._session, ignore_errors=True)
