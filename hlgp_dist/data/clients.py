"""fsspec's filesystems as `remote` asks for them: one request a call, without retries or caches of their own."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from hlgp_dist.data.place import Facts

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

NO_RANGES = "the server sends the whole file in place of a range; take one that knows `Range`"
NO_BUCKET = "NoSuchBucket"
"""What botocore calls the exception below that of s3fs."""
CONNECTIONS = 64
"""Of a process to one server."""
TOLD = ("AWS_", "GOOGLE_", "GCE_", "STORAGE_EMULATOR_HOST", "FSSPEC_")
"""How the names of variables begin that say whom to ask, and as whom."""
_lock = threading.Lock()
_clients: dict[object, Client] = {}
"""By process too: those that a fork inherited are neither used nor closed."""


class Final(Exception):
    """Another attempt would end as this one did; the message says what is to be done."""


class Client(Protocol):
    """A server's files by whole URL, on the event loop `loop`, which runs in another thread."""

    loop: asyncio.AbstractEventLoop

    async def read(self, url: str, start: int, length: int) -> bytes:
        """The bytes, or fewer or more of them; any exception."""

    async def facts(self, url: str) -> Facts | None:
        """None: there is no such file."""


class StoreClient(Client, Protocol):
    """Of a store that also takes files."""

    async def listed(self, url: str) -> dict[str, Facts]:
        """Every object that the URL names or that lies below it, by whole URL."""

    async def replace(self, url: str, content: bytes) -> None:
        """What was there; a reader sees the one or the other."""

    async def send(self, url: str, file: Path) -> None:
        """Likewise, in parts."""

    async def create(self, url: str, content: bytes) -> bool:
        """False: there is one already. Stores without conditional writes may replace it all the same."""

    async def remove(self, url: str) -> None:
        """Also where there is none."""


def connect(scheme: str) -> Client:
    """This process's client of a scheme: one for all places, as long as the environment says the same.

    Raises:
        ImportError: its package is missing.
    """
    told = tuple(sorted(item for item in os.environ.items() if item[0].startswith(TOLD)))
    key = (os.getpid(), scheme, told)
    with _lock:
        if key not in _clients:
            _clients[key] = _CONNECT[scheme]()
        return _clients[key]


def _s3() -> Client:
    import s3fs

    config = {"retries": {"total_max_attempts": 1}, "max_pool_connections": CONNECTIONS}
    filesystem = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
    filesystem.retries = 1
    return Objects("s3", filesystem)


def _gs() -> Client:
    from gcsfs.core import GCSFileSystem  # `gcsfs.GCSFileSystem` looks up each bucket's kind, over another protocol

    return Objects("gs", GCSFileSystem(skip_instance_cache=True, use_listings_cache=False))


def _web() -> Client:
    session = {"trust_env": True, "auto_decompress": False, "timeout": aiohttp.ClientTimeout(total=None)}
    return Web(HTTPFileSystem(skip_instance_cache=True, client_kwargs=session))


_CONNECT = {"s3": _s3, "gs": _gs, "https": _web, "http": _web}


def _renew_lock() -> None:
    """In a forked child, where whoever held it is not."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Objects:
    """s3fs or gcsfs; gcsfs repeats by itself, within the deadline of an attempt."""

    def __init__(self, scheme: str, filesystem: Any) -> None:
        self._scheme, self._filesystem = scheme, filesystem
        self.loop: asyncio.AbstractEventLoop = filesystem.loop

    async def read(self, url: str, start: int, length: int) -> bytes:
        content: bytes = await self._filesystem._cat_file(url, start=start, end=start + length)
        return content

    async def facts(self, url: str) -> Facts | None:
        try:
            info = await self._filesystem._info(url)
        except FileNotFoundError as error:
            if type(error.__cause__).__name__ == NO_BUCKET:
                raise
            return None
        return _facts(info) if info["type"] == "file" else None

    async def listed(self, url: str) -> dict[str, Facts]:
        found = await self._filesystem._find(url, detail=True)
        return {f"{self._scheme}://{name}": _facts(info) for name, info in found.items()}

    async def replace(self, url: str, content: bytes) -> None:
        await self._filesystem._pipe_file(url, content)

    async def send(self, url: str, file: Path) -> None:
        await self._filesystem._put_file(str(file), url)

    async def create(self, url: str, content: bytes) -> bool:
        try:
            await self._filesystem._pipe_file(url, content, mode="create")
        except FileExistsError:
            return False
        return True

    async def remove(self, url: str) -> None:
        with suppress(FileNotFoundError):
            await self._filesystem._rm_file(url)


def _facts(info: Mapping[str, Any]) -> Facts:
    tag = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("updated")
    modified = info.get("LastModified") or info.get("mtime")
    seconds = modified.timestamp() if isinstance(modified, datetime) else None
    return Facts(info["size"], str(tag) if tag else None, seconds)


class Web:
    """HTTP ranges over the session of fsspec's filesystem, whose own `cat_file` looks at no header of an answer."""

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem
        self.loop: asyncio.AbstractEventLoop = filesystem.loop

    async def read(self, url: str, start: int, length: int) -> bytes:
        async with await self._get(url, start, length) as response:
            _check_range(response, start, length)
            try:
                return await response.content.readexactly(length)
            except asyncio.IncompleteReadError as error:
                return error.partial

    async def facts(self, url: str) -> Facts | None:
        async with await self._get(url, 0, 1) as response:
            if response.status in (404, 410):
                return None
            tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if response.status == 416:  # of an empty file
                return Facts(0, tag)
            total = _check_range(response, 0, 1)
            return Facts(total, tag)

    async def _get(self, url: str, start: int, length: int) -> ClientResponse:
        session: ClientSession = await self._filesystem.set_session()
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        return await session.get(self._filesystem.encode_url(url), headers=headers)


def _check_range(response: ClientResponse, start: int, length: int) -> int:
    """The whole file's length, of an answer that holds the range, or what there is of it.

    Raises:
        aiohttp.ClientResponseError: the status is an error.
        Final: the answer is something else.
    """
    response.raise_for_status()
    coded = {response.headers.get(name, "identity") for name in ("Content-Encoding", "Transfer-Encoding")}
    if not coded <= {"identity", "chunked"}:
        raise Final(f"the server sends it compressed ({', '.join(sorted(coded))}); turn that off")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == 206 and found is not None and int(found[1]) == start and int(found[2]) < start + length:
        return int(found[3])
    if response.status == 200 and (start, length) == (0, response.content_length):
        return length
    raise Final(NO_RANGES)
