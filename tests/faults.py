"""An HTTP server on loopback that answers wrongly when it is told to: from a folder, or in front of another server."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass(frozen=True)
class Answer:
    """sent: after so many bytes of the body the connection is cut; late: seconds before anything is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: int | None = None
    late: float = 0.0


Fault = Callable[[Answer], Answer]
Backend = Callable[[str, str, dict[str, str]], Answer]
"""(method, path, headers) -> the right answer."""


def error(status: int, code: str = "") -> Fault:
    """In S3's XML where a code is given."""
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode() if code else b"injected"
    return lambda _: Answer(status, {"Content-Type": "application/xml"}, body)


def cut(answer: Answer) -> Answer:
    """In the middle of the body."""
    return replace(answer, sent=len(answer.body) // 2)


def flipped(answer: Answer) -> Answer:
    """One bit in the middle of the body."""
    if not answer.body:
        return answer
    middle = len(answer.body) // 2
    return replace(answer, body=answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :])


def short(answer: Answer) -> Answer:
    """A whole answer that lacks its last byte."""
    return replace(answer, body=answer.body[:-1])


def late(seconds: float) -> Fault:
    return lambda answer: replace(answer, late=seconds)


def zipped(answer: Answer) -> Answer:
    """As a server that compresses whatever it is asked for."""
    return replace(answer, headers=answer.headers | {"Content-Encoding": "gzip"}, body=gzip.compress(answer.body))


def fine(answer: Answer) -> Answer:
    return answer


class FaultyServer(ThreadingHTTPServer):
    """faults: of the next requests for a path that ends in `on`, one each; always: of those after them.

    asked: "METHOD NAME" of every such request.
    """

    daemon_threads = True

    def __init__(self, backend: Backend, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.backend = backend
        self.on = ""
        self.faults: deque[Fault] = deque()
        self.always: Fault = fine
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def inject(self, *faults: Fault, on: str = "", always: Fault = fine) -> None:
        """From now on."""
        self.on, self.faults, self.always, self.asked = on, deque(faults), always, []

    def next_fault(self, method: str, path: str) -> Fault:
        if not path.partition("?")[0].endswith(self.on):
            return fine
        self.asked.append(f"{method} {path.rpartition('/')[2]}")
        return self.faults.popleft() if self.faults else self.always

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever went away in the middle was meant to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        assert length == 0, "nothing is written through it"
        right = self.server.backend(self.command, self.path, dict(self.headers))
        answer = self.server.next_fault(self.command, self.path)(right)
        time.sleep(answer.late)
        self.send_response(answer.status)
        given = {name.lower() for name in answer.headers}
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "content-length" not in given:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent])
        self.close_connection |= answer.sent is not None

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Tests look at `asked`."""


def from_folder(folder: Path, method: str, path: str, headers: dict[str, str], *, ranges: bool = True) -> Answer:
    """A static file server; without `ranges` one that does not know them."""
    file = folder / path.lstrip("/")
    if not file.is_file():
        return Answer(404)
    content = file.read_bytes()
    about = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
    if wanted is None or not ranges:
        return Answer(200, about, content)
    start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
    if start >= len(content):
        return Answer(416, about | {"Content-Range": f"bytes */{len(content)}"})
    about["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Answer(206, about, content[start:stop])


def forwarded(port: int, method: str, path: str, headers: dict[str, str]) -> Answer:
    """What the server at the port answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        hidden = ("content-length", "transfer-encoding", "connection", "date", "server")
        kept = {name: value for name, value in response.getheaders() if name.lower() not in hidden}
        if method == "HEAD":
            kept["Content-Length"] = response.headers["Content-Length"]
        return Answer(response.status, kept, body)
    finally:
        connection.close()


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """Until the end of the block."""
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
