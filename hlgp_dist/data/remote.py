"""A folder behind a URL, through fsspec: bounded attempts, each with a deadline; nothing lasts in a child."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, NamedTuple, TypeVar

import aiohttp

from hlgp_dist.config.places import CREDENTIALS, scheme_of
from hlgp_dist.data.clients import NO_BUCKET, NO_RANGES, TOLD, Client, Final, connect
from hlgp_dist.data.patience import Attempts, Closed, Patience, Transient
from hlgp_dist.data.place import Facts
from hlgp_dist.errors import ConfigError, DataError

PIECE_BYTES = 8 * 2**20
"""What one request fetches at most, so that a deadline means something for a large file too."""
_SLACK_SECONDS = 5.0
_WORTH_ANOTHER = (408, 425, 429)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
_MISCONFIGURED = ("ProfileNotFound", "ParamValidationError", "InvalidRetryModeError")
"""Of botocore's; others of the kind are ValueErrors."""
_RIGHT = {
    "AWS_ENDPOINT_URL": "a whole URL, as https://HOST:PORT",
    "AWS_PROFILE": "a profile of ~/.aws/config or ~/.aws/credentials",
}
Result = TypeVar("Result")


class _Connection(NamedTuple):
    """What a process has of its own."""

    client: Client
    pending: set[Future[Any]]


class Remote:
    """A folder behind a URL; see `Place`. A forked process makes connections of its own."""

    rereads = 2

    def __init__(self, url: str, patience: Patience | None = None, doing: str = "read") -> None:
        self.url = url.rstrip("/")
        self._scheme = str(scheme_of(url))
        self._attempts = Attempts(patience or Patience(), doing)
        self._connections: dict[int, _Connection] = {}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if length is None:
            facts = self.facts(name)
            if facts is None:
                raise DataError(f"{self.url}/{name}: is not there")
            length = max(facts.size - start, 0)
        pieces = range(start, start + length, PIECE_BYTES)
        return b"".join(self._piece(name, at, min(PIECE_BYTES, start + length - at)) for at in pieces)

    def facts(self, name: str) -> Facts | None:
        url = f"{self.url}/{name}"
        facts: Facts | None = self._attempts(url, partial(self._wait, url, lambda client: client.facts(url)))
        return facts

    def close(self) -> None:
        self._attempts.closed.set()
        connection = self._connections.get(os.getpid())
        for future in list(connection.pending) if connection is not None else ():
            future.cancel()

    def _piece(self, name: str, start: int, length: int) -> bytes:
        url = f"{self.url}/{name}"
        return self._attempts(url, partial(self._attempt, url, start, length))

    def _attempt(self, url: str, start: int, length: int) -> bytes:
        content: bytes = self._wait(url, lambda client: client.read(url, start, length))
        if len(content) > length:
            raise DataError(f"{url}: {NO_RANGES} ({len(content)} bytes in place of {length})")
        if len(content) < length:
            facts = self._wait(url, lambda client: client.facts(url))
            told = f"truncated: {len(content)} bytes instead of {length} at byte {start}"
            if facts is None or facts.size < start + length:
                raise DataError(f"{url}: {told}")
            raise Transient(told)
        return content

    def _wait(self, url: str, ask: Callable[[Any], Awaitable[Result]], more_seconds: float = 0.0) -> Result:
        """One attempt on the loop's thread; `ask` is given the client, `more_seconds` go beyond an attempt's deadline.

        Raises:
            Transient, DataError, ConfigError: it is worth another, it is not.
        """
        client, pending = self._here()
        seconds = self._attempts.patience.deadline_seconds + more_seconds
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(ask(client), seconds), client.loop)
        pending.add(future)
        try:
            if self._attempts.closed.is_set():  # `close` may have looked before this one was there
                future.cancel()
            return future.result(seconds + _SLACK_SECONDS)
        except CancelledError:
            raise Closed(f"{url}: closed while it was read") from None
        except TimeoutError:
            future.cancel()
            raise Transient(f"no answer within {seconds:g} s") from None
        except Exception as error:
            raise judged(url, error) from error
        finally:
            pending.discard(future)

    def _here(self) -> _Connection:
        pid = os.getpid()
        if pid not in self._connections:
            self._connections.setdefault(pid, _Connection(connect(self._scheme), set()))
        return self._connections[pid]


def judged(url: str, error: Exception) -> Exception:
    """What an exception of a client means: `Transient`, or a failure that names what is to be done."""
    status = _status(error)
    if type(error.__cause__).__name__ == NO_BUCKET:
        return DataError(f"{url}: there is no such bucket; is its name right, and the server that is asked?")
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return DataError(f"{url}: is not there")
    if isinstance(error, PermissionError) or status in (401, 403) or type(error).__name__ in _NO_CREDENTIALS:
        return DataError(f"{url}: access denied ({_told(error)}); {CREDENTIALS}")
    if status == 416:
        return DataError(f"{url}: truncated: it has none of the bytes asked for")
    if isinstance(error, Final):
        return DataError(f"{url}: {error}")
    if status is not None and status < 500 and status not in _WORTH_ANOTHER:
        return DataError(f"{url}: the server refuses ({_told(error)})")
    if _is_misconfigured(error):
        return ConfigError(f"{url}: {_told(error)}; {_to_correct(str(error))}")
    return Transient(_told(error))


def _is_misconfigured(error: Exception) -> bool:
    """Whether a client refused before it asked anybody; what cannot be parsed is an answer."""
    is_parsing = isinstance(error, json.JSONDecodeError | UnicodeError)
    return type(error).__name__ in _MISCONFIGURED or (isinstance(error, ValueError) and not is_parsing)


def _to_correct(message: str) -> str:
    """The variable whose value the message repeats, the longest where there are several; values may be secrets."""
    told = {name: value for name, value in os.environ.items() if name.startswith(TOLD) and value and value in message}
    if not told:
        return f"correct the URL, the variables {', '.join(f'{name}...' for name in TOLD)} or ~/.aws/config"
    name = max(sorted(told), key=lambda name: len(told[name]))
    return f"correct {name}" + (f": {_RIGHT[name]}" if name in _RIGHT else "")


def _status(error: BaseException | None) -> int | None:
    """HTTP's: aiohttp's own, gcsfs's, or botocore's, there below the exception that s3fs makes of it."""
    while error is not None:
        if isinstance(error, aiohttp.ClientResponseError):
            return error.status
        if isinstance(response := getattr(error, "response", None), dict):
            return int(response["ResponseMetadata"]["HTTPStatusCode"])
        if type(error).__name__ == "HttpError":
            return int(error.code)  # type: ignore[attr-defined]
        if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # gcsfs, which keeps no number of it
            return 403
        error = error.__cause__
    return None


def _told(error: Exception) -> str:
    """In one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__


def check_packages(key: str, url: str) -> None:
    """Raise ConfigError where one that the URL needs is missing; `key` is whose value the URL is."""
    scheme = str(scheme_of(url))
    try:
        connect(scheme)
    except ImportError as error:
        raise ConfigError(
            f"{key}: {scheme}:// needs a package that is not installed: pip install 'hlgp_dist[{scheme}]' ({error})"
        ) from error


def open_remote(url: str, patience: Patience | None = None) -> Remote:
    """The folder behind `url`, whose scheme is one of `REMOTE_SCHEMES`.

    Raises:
        ConfigError: a package is missing.
    """
    check_packages("data.path", url)
    return Remote(url, patience)
