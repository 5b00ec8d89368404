"""A desk and hosts on one bridge, whose links can be cut, healed and slowed, and whose hosts can lose their power."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.cluster.host import REPOSITORY, SYSTEM_PATH, Host, tried

DESK = "10.77.0.1"
SLOW_WAYS = ("netem delay 20ms rate 4mbit", "tbf rate 4mbit burst 32kbit latency 400ms")
"""What a link's queue may be; not every kernel has the first."""


def slow_way() -> str | None:
    """The first of them that this kernel has, None where there is none, or no tc."""
    has = (way for way in SLOW_WAYS if tried(f"tc qdisc add dev lo root {way}").returncode == 0)
    return next(has, None)


class Lan:
    """Up from construction to `close`. The desk sees the repository, the hosts see `places`; one key opens all."""

    def __init__(self, work: Path, places: Mapping[str, Path]) -> None:
        self._work, self._places = work, places
        key = work / "desk" / "home" / ".ssh" / "id_ed25519"
        key.parent.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self._key = key.with_suffix(".pub")
        self.desk = Host("desk", DESK, work / "desk", self._key, {str(REPOSITORY): REPOSITORY}, _lay_bridge)
        self._hosts = [self.desk]

    def boot(self, name: str, address: str) -> Host:
        """A host with nothing on it but its home, as it was left if there was one of that name."""
        host = Host(
            name, address, self._work / name, self._key, self._places, partial(self._plug, name, hardware(address))
        )
        self._hosts.append(host)
        return host

    def _plug(self, name: str, mac: str, pid: str) -> None:
        end = ("name", "lan", "address", mac, "netns", pid)
        _on(self.desk.pid, "ip", "link", "add", name, "type", "veth", "peer", *end)
        _on(self.desk.pid, "ip", "link", "set", name, "master", "lan", "up")

    def cut(self, host: Host) -> None:
        """Nobody is told: packets are lost."""
        _on(self.desk.pid, "ip", "link", "set", host.name, "down")

    def heal(self, host: Host) -> None:
        _on(self.desk.pid, "ip", "link", "set", host.name, "up")

    def slow(self, host: Host, way: str) -> None:
        """In both directions."""
        _on(self.desk.pid, "tc", "qdisc", "add", "dev", host.name, "root", *way.split())
        _on(host.pid, "tc", "qdisc", "add", "dev", "lan", "root", *way.split())

    def power_off(self, host: Host) -> None:
        """Its last packets do not get out, so that nobody hears that it ended."""
        _on(self.desk.pid, "ip", "link", "delete", host.name)
        host.close()
        self._hosts.remove(host)

    def close(self) -> None:
        for host in reversed(self._hosts):
            host.close()


def hardware(address: str) -> str:
    """The MAC address, which a machine has again when it is back, as the others remember it."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _lay_bridge(pid: str) -> None:
    _on(pid, "ip", "link", "add", "lan", "address", hardware(DESK), "type", "bridge")


def _on(pid: str, *command: str) -> None:
    """In the network of a process, with this machine's files."""
    subprocess.run(["nsenter", "--target", pid, "--net", *command], env={"PATH": SYSTEM_PATH}, check=True)
