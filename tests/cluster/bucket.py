"""A bucket on the desk, by a server of S3's protocol on the bridge: `python -m tests.cluster.bucket`, run there."""

from __future__ import annotations

import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.errors import DataError
from tests.cluster.host import REPOSITORY, Host
from tests.cluster.lan import DESK
from tests.objects import ENVIRONMENT

PORT = 5000
URL = "s3://results/hlgp"
EXPORTS = ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{DESK}:{PORT}", "NO_PROXY": "*", "no_proxy": "*"}
"""What a host needs to reach it."""
UP, START_SECONDS = "the bucket is there", 60


def start(desk: Host) -> None:
    """Serve it there until the desk is gone."""
    server = desk.start(sys.executable, "-m", "tests.cluster.bucket", "serve", folder=REPOSITORY)
    deadline = time.monotonic() + START_SECONDS
    while UP not in server.said():
        assert server.process.poll() is None and time.monotonic() < deadline, server.said()
        time.sleep(0.2)


def send(desk: Host, folder: Path) -> None:
    """A folder that the desk sees, under its name."""
    _done(desk, "send", str(folder))


def fetch(desk: Host, name: str, folder: Path) -> None:
    """What lies below a name, into a folder that the desk sees."""
    _done(desk, "fetch", name, str(folder))


def _done(desk: Host, *arguments: str) -> None:
    code, said = desk.run(sys.executable, "-m", "tests.cluster.bucket", *arguments, env=EXPORTS, folder=REPOSITORY)
    assert code == 0, said


def _serve() -> None:
    from moto.server import ThreadedMotoServer

    ThreadedMotoServer(ip_address=DESK, port=PORT, verbose=False).start()
    place = f"{EXPORTS['AWS_ENDPOINT_URL']}/{URL.split('/')[2]}"
    with urllib.request.urlopen(urllib.request.Request(place, b"", method="PUT"), timeout=30):
        print(UP, flush=True)
    threading.Event().wait()


def _send(folder: Path) -> None:
    for file in folder.iterdir():
        Bucket(f"{URL}/{folder.name}").write(file.name, file)


def _fetch(name: str, folder: Path) -> None:
    bucket = Bucket(URL)
    for each in bucket.listed(name):
        with suppress(DataError):  # a checkpoint whose successors came while this was listed and read
            content = bucket.read(each)
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (folder / each).write_bytes(content)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            _serve()
        case ["send", folder]:
            _send(Path(folder))
        case ["fetch", name, folder]:
            _fetch(name, Path(folder))
