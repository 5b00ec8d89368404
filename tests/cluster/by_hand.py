"""A cluster of hosts of namespaces that stays up until ctrl-c: `python -m tests.cluster.by_hand NUMBER`, as root."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.cluster.host import REPOSITORY, missing
from tests.cluster.onprem import OnPrem

GUIDE = """
{hosts}
storage     {storage} on the hosts, {shared} here
the file    {file} at the desk, {outside} here

A shell at the desk, in the project's folder:

    {shell}

There, for one:

    ray up --yes {file}
    ray exec {file} 'cd ~/hlgp_dist && hlgp data shard hlgp_dist/embedded/digits.tar $HLGP_STORAGE/shards/digits'
    ray submit {file} cluster/submit.py -- tune configs/digits_search.yaml launch.num_workers=2
    ray down --yes {file}

Here, to do harm:

    nsenter --target {desk} --net ip link set worker-1 down    and up again: its link
    kill -KILL PROCESS                                         its power

ctrl-c ends all of it."""


def guide(cluster: OnPrem) -> str:
    desk = cluster.desk
    hosts = [f"{host.name:11} {host.address:12} process {host.pid}" for host in (desk, *cluster.hosts.values())]
    return GUIDE.format(
        hosts="\n".join(hosts),
        storage=cluster.storage,
        shared=cluster.shared,
        file=cluster.file,
        outside=desk.home / "onprem.yaml",
        shell=desk.shell(REPOSITORY),
        desk=desk.pid,
    )


def main() -> None:
    reason = missing()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="hosts-") as work:
        cluster = OnPrem(Path(work), num_hosts=int(sys.argv[1]) if len(sys.argv) > 1 else 2)
        try:
            print(guide(cluster), flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            cluster.close()


if __name__ == "__main__":
    main()
