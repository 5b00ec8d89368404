"""A machine of its own on this one: network, process ids and files, with an sshd, in namespaces."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
HOME = "/home/hlgp"
NAMESPACES = ("--net", "--uts", "--pid", "--mount")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": f"{sys.prefix}/bin:{SYSTEM_PATH}", "HOME": HOME, "LANG": "C.UTF-8"}
START_SECONDS = 20
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "pivot_root", "sshd", "ssh", "ssh-keygen", "rsync", "awk", "bash")


def missing() -> str | None:
    """Why there can be no such machine here, or None."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and an sshd"
    absent = [tool for tool in TOOLS if not shutil.which(tool, path=SYSTEM_PATH)]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, util-linux, openssh-server, openssh-client, rsync)"
    files = "mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir old"
    network = "ip link add lan type bridge && ip link add host type veth peer name end"
    trial = tried(f"{files} && {network} && pivot_root . old")
    return f"needs namespaces: {trial.stderr.strip()}" if trial.returncode else None


def tried(commands: str) -> subprocess.CompletedProcess[str]:
    """In namespaces of their own, which are gone afterwards."""
    return subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "bash", "-c", commands],
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
    )


def interpreter() -> dict[str, Path]:
    """The folders that this Python needs, where they are: its own, and those through which links lead to it."""
    folders, path = [Path(sys.prefix), Path(sys.base_prefix)], Path(sys.executable)
    while path.is_symlink():
        path = path.parent / path.readlink()
        folders.append(path.parent)
    system = tuple(Path(name) for name in ("/usr", "/bin"))
    return {str(folder): folder for folder in folders if not any(folder.is_relative_to(own) for own in system)}


class Ended(NamedTuple):
    """How a command ended: its exit code, stdout and stderr together."""

    code: int
    said: str


class Command(NamedTuple):
    """One that runs on a machine."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float) -> Ended:
        """Its end; one that takes longer is left to the end of its machine."""
        try:
            return Ended(self.process.wait(seconds), self.said())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done in {seconds} s: {self.said()}") from None


class Host:
    """Up from construction to `close`; its home stays in `work`, for when it is started again.

    places: what it sees beside the system's folders, this Python and its home. plug: gives the process of the id a
    network device called lan.
    """

    def __init__(
        self, name: str, address: str, work: Path, key: Path, places: Mapping[str, Path], plug: Callable[[str], None]
    ) -> None:
        self.name, self.address, self.home = name, address, work / "home"
        self._logs, self._started, root = work / "commands", 0, work / "root"
        for folder in (self.home, self._logs, root):
            folder.mkdir(parents=True, exist_ok=True)
        seen = {HOME: self.home, **interpreter(), **places}
        script = Path(__file__).with_name("host.sh")
        gone_with_us = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
        mapped = [f"{place}={folder}" for place, folder in seen.items()]
        with (work / "host.log").open("a") as log:
            self._unshare = subprocess.Popen(
                [*gone_with_us, "bash", str(script), name, address, str(root), str(key), *mapped],
                env={"PATH": SYSTEM_PATH},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.pid = self._said(log.name)
            plug(self.pid)
            assert self._said(log.name) == "up"
        except BaseException:
            self.close()
            raise

    def _said(self, log: str) -> str:
        assert self._unshare.stdout is not None
        readable, _, _ = select.select([self._unshare.stdout], [], [], START_SECONDS)
        line = os.read(self._unshare.stdout.fileno(), 100).decode().strip() if readable else ""
        assert line, f"{self.name} did not start: {Path(log).read_text()}"
        return line

    def start(self, *command: str, env: Mapping[str, str] | None = None, folder: str | Path = HOME) -> Command:
        """A command on the machine, as typed by its user."""
        self._started += 1
        log = self._logs / f"{self._started:03d}-{Path(command[0]).name}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*self._enter(folder), *command],
                env={**ENVIRONMENT, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        return Command(process, log)

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, folder: str | Path = HOME, seconds: float = 120
    ) -> Ended:
        return self.start(*command, env=env, folder=folder).wait(seconds)

    def _enter(self, folder: str | Path) -> list[str]:
        return ["nsenter", "--target", self.pid, *NAMESPACES, f"--wdns={folder}"]

    def shell(self, folder: str | Path) -> str:
        """What a person types to be on the machine."""
        variables = [f"{name}={value}" for name, value in (ENVIRONMENT | {"TERM": "$TERM"}).items()]
        return " ".join([*self._enter(folder), "env", "-i", *variables, "bash", "--norc"])

    def processes(self) -> list[str]:
        """The command lines of everything that runs on the machine."""
        names = 'for d in /proc/[0-9]*; do tr "\\0" " " < $d/cmdline 2> /dev/null; echo; done'
        return [line for line in self.run("bash", "-c", names).said.splitlines() if line.strip()]

    def close(self) -> None:
        self._unshare.kill()
        self._unshare.wait()
