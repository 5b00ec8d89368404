"""A machine of its own on this one: network, process ids, /tmp and home, with an sshd, in namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 20
NAMESPACES = ("--net", "--uts", "--pid", "--mount")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str | None:
    """Why there can be no such machine here, or None."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and an sshd"
    tools = ["ip", "unshare", "nsenter", "setpriv", "sshd", "ssh", "ssh-keygen", "rsync", "awk", "bash"]
    absent = [tool for tool in tools if not shutil.which(tool, path=SYSTEM_PATH)]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, util-linux, openssh-server, openssh-client, rsync)"
    commands = "mount -t tmpfs tmpfs /run && ip link add lan type bridge && ip address add 10.77.0.1/24 dev lan"
    trial = subprocess.run(["unshare", *NAMESPACES, "--fork", "bash", "-c", commands], capture_output=True, text=True)
    return f"needs namespaces: {trial.stderr.strip()}" if trial.returncode else None


def interpreter_links() -> list[str]:
    """The folders through which a virtual environment's `python` leads to the interpreter, by links."""
    folders, path = [], Path(sys.executable)
    while path.is_symlink():
        path = path.parent / path.readlink()
        folders.append(str(path.parent))
    return folders


class Host:
    """Up from construction to `close`; `run` is a process on it, with the home of a stranger unless told otherwise."""

    def __init__(self, address: str, work: Path) -> None:
        self.address, self.work, self.home = address, work, work / "home"
        work.mkdir(parents=True, exist_ok=True)
        kept = [sys.prefix, sys.base_prefix, str(REPOSITORY), str(work.parent), *interpreter_links()]
        script = Path(__file__).with_name("host.sh")
        gone_with_us = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
        self._unshare = subprocess.Popen(
            [*gone_with_us, "bash", str(script), address, str(work), *kept], env={"PATH": SYSTEM_PATH}
        )
        self._pid = self._wait_until_up()

    def _wait_until_up(self) -> str:
        for _ in range(10 * START_SECONDS):
            if (self.work / "pid").exists():
                return (self.work / "pid").read_text().strip()
            assert self._unshare.poll() is None, "the machine of namespaces did not start"
            time.sleep(0.1)
        self.close()
        raise AssertionError(f"no sshd in {START_SECONDS} s: {self.work / 'sshd.log'}")

    def run(
        self, *command: str, home: Path, env: Mapping[str, str] | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A command on the machine, as typed by its user: stdout and stderr together, never raises on a failure."""
        inside = ["nsenter", "--target", self._pid, *NAMESPACES, f"--wdns={REPOSITORY}", *command]
        return subprocess.run(
            inside,
            env={"PATH": f"{sys.prefix}/bin:{SYSTEM_PATH}", "HOME": str(home), "LANG": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def processes(self) -> list[str]:
        """The command lines of everything that runs on the machine."""
        names = 'for d in /proc/[0-9]*; do tr "\\0" " " < $d/cmdline 2> /dev/null; echo; done'
        return [line for line in self.run("bash", "-c", names, home=self.home).stdout.splitlines() if line.strip()]

    def close(self) -> None:
        self._unshare.kill()
        self._unshare.wait()
