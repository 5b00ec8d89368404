"""A real S3-protocol server on loopback, in a process of its own, and folders uploaded to it."""

from __future__ import annotations

import multiprocessing
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

BUCKET = "shards"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
"""Beside AWS_ENDPOINT_URL."""


def _serve(end: Connection) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    end.send(server.get_host_and_port()[1])
    end.recv()


@contextmanager
def s3_server() -> Iterator[int]:
    """Its port, with the bucket BUCKET."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        port = ours.recv()
        _put(port, BUCKET, b"")
        yield port
    finally:
        process.kill()
        process.join()


def upload(port: int, folder: Path, prefix: str) -> str:
    """Every file of the folder; the URL of the copy."""
    for file in folder.iterdir():
        _put(port, f"{BUCKET}/{prefix}/{file.name}", file.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def _put(port: int, path: str, content: bytes) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", content, kind, method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        assert response.status == 200
