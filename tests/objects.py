"""Servers of the protocols of S3 and Google Cloud Storage on loopback, each in a process, and folders sent there."""

from __future__ import annotations

import multiprocessing
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote

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


def _serve_s3(end: Connection) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    end.send(server.get_host_and_port()[1])
    end.recv()


def _serve_google(end: Connection) -> None:
    import logging
    import os

    from gcp_storage_emulator.server import create_server

    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # it tells of every client that went away
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    end.send(server._api._httpd.server_port)
    end.recv()


@contextmanager
def _in_a_process(serve: Callable[[Connection], None]) -> Iterator[int]:
    """The port that it serves at."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


@contextmanager
def s3_server() -> Iterator[int]:
    """Its port, with the bucket BUCKET."""
    with _in_a_process(_serve_s3) as port:
        _put(port, BUCKET, b"")
        yield port


@contextmanager
def google_server(folder: Path, prefix: str) -> Iterator[int]:
    """Its port; gs://BUCKET/prefix holds every file of the folder."""
    with _in_a_process(_serve_google) as port:
        for file in folder.iterdir():
            name = quote(f"{prefix}/{file.name}", safe="")
            path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
            _put(port, path, file.read_bytes(), method="POST")
        yield port


def upload(port: int, folder: Path, prefix: str) -> str:
    """Every file of the folder; the URL of the copy."""
    for file in folder.iterdir():
        _put(port, f"{BUCKET}/{prefix}/{file.name}", file.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def list_bucket(port: int) -> list[str]:
    """The names of all objects in BUCKET."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{port}/{BUCKET}?list-type=2", timeout=30
    ) as response:
        return re.findall(r"<Key>(.*?)</Key>", response.read().decode())


def _put(port: int, path: str, content: bytes, method: str = "PUT") -> None:
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", content, kind, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        assert response.status == 200
