"""A cluster on hosts of namespaces, by the shipped on-prem file."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from hlgp_dist.shards.shard import shard
from tests.cluster.host import HOME, REPOSITORY, Command, Ended, Host
from tests.cluster.lan import Lan

TOKEN = "test-only-0123456789abcdef"
FOLDER = "/shared/hlgp"
"""Where the shipped file has the storage."""
SMALL = "ray start --num-cpus=1 --object-store-memory=80000000"


def addresses(num_hosts: int) -> dict[str, str]:
    """By name, that of the head first."""
    names = ["head", *(f"worker-{number}" for number in range(1, num_hosts))]
    return {name: f"10.77.0.{10 + number}" for number, name in enumerate(names)}


class OnPrem:
    """Hosts of one core each, the head first, and a desk where the shipped file lies with its EDIT lines edited.

    storage: a folder that all hosts see (the desk does not), or a URL, for which `exports` may name the way.
    powered: hosts that are on from the beginning, else all.
    """

    def __init__(
        self,
        work: Path,
        num_hosts: int,
        storage: str = FOLDER,
        exports: Mapping[str, str] | None = None,
        powered: int | None = None,
    ) -> None:
        self.shared = work / "shared"
        self.shared.mkdir(parents=True)
        self.storage = storage
        self.lan = Lan(work, {} if "://" in storage else {storage: self.shared})
        self.desk = self.lan.desk
        self._addresses = addresses(num_hosts)
        self.hosts: dict[str, Host] = {}
        for name in list(self._addresses)[:powered]:
            self.boot(name)
        self.configs = self.desk.home / "configs"
        shutil.copytree(REPOSITORY / "configs", self.configs)
        token = self.desk.home / ".ray" / "auth_token"
        token.parent.mkdir()
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.file = f"{HOME}/onprem.yaml"
        text = (REPOSITORY / "cluster" / "onprem.yaml").read_text()
        edited = edited_file(text, list(self._addresses.values()), storage, exports or {})
        (self.desk.home / "onprem.yaml").write_text(edited)

    def boot(self, name: str) -> None:
        """A new machine, or one that was powered off; its packages are borrowed from this Python."""
        host = self.hosts[name] = self.lan.boot(name, self._addresses[name])
        environment = host.home / "hlgp_dist" / ".venv"
        if not environment.is_symlink():
            environment.parent.mkdir()
            environment.symlink_to(sys.prefix)

    def power_off(self, name: str) -> None:
        self.lan.power_off(self.hosts.pop(name))

    def start_ray(self, *arguments: str) -> Command:
        """At the desk, in the project's folder."""
        return self.desk.start("ray", *arguments, folder=REPOSITORY)

    def ray(self, *arguments: str, seconds: float = 300) -> Ended:
        return self.start_ray(*arguments).wait(seconds)

    def up(self) -> None:
        code, said = self.ray("up", "--yes", "--disable-usage-stats", self.file)
        assert code == 0, said

    def submit(self, *arguments: str) -> Command:
        """A verb of hlgp."""
        return self.start_ray("submit", "--disable-usage-stats", self.file, "cluster/submit.py", "--", *arguments)

    def close(self) -> None:
        self.lan.close()


def edited_file(text: str, hosts: Sequence[str], storage: str, exports: Mapping[str, str]) -> str:
    """The shipped file for hosts at these addresses: small ones, whose packages are there and need no `pip install`."""
    head, *workers = hosts
    cluster = yaml.safe_load(text.replace(FOLDER, storage).replace("ray start", SMALL))
    cluster["provider"] |= {"head_ip": head, "worker_ips": workers}
    cluster["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"}
    cluster["file_mounts"]["~/hlgp_dist/configs"] = f"{HOME}/configs"
    *others, install = cluster["setup_commands"]
    assert "pip install" in install
    exported = {"PYTHONPATH": f"{HOME}/hlgp_dist", **exports}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    cluster["setup_commands"] = [*others, f"printf '%s\\n' {shlex.join(lines)} >> ~/hlgp_dist/env.sh"]
    return str(yaml.safe_dump(cluster, sort_keys=False))


@contextmanager
def on_prem(
    work: Path,
    num_hosts: int,
    storage: str = FOLDER,
    exports: Mapping[str, str] | None = None,
    powered: int | None = None,
) -> Iterator[OnPrem]:
    """A cluster with the digits in its folder, which for a URL only this machine sees; see `OnPrem`."""
    cluster = OnPrem(work, num_hosts, storage, exports, powered)
    try:
        shard(REPOSITORY / "hlgp_dist" / "embedded" / "digits.tar", cluster.shared / "shards", workers=1)
        yield cluster
    finally:
        cluster.close()


def hosts_of(run: Path) -> set[str]:
    """Where the ranks of a run last were."""
    logs = [log.read_text() for log in (run / "logs").glob("rank-*.log")]
    return {re.findall(r"process \d+ of (\S+)", log)[-1] for log in logs}
