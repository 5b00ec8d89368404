"""A folder of objects behind an s3:// or gs:// URL that may be written to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from hlgp_dist.data.clients import StoreClient
from hlgp_dist.data.patience import Patience
from hlgp_dist.data.place import Facts
from hlgp_dist.data.remote import Remote

SLOWEST_BYTES_PER_SECOND = 2**20
"""At which a file may be sent before an attempt counts as failed."""
WHOLE_BYTES = 64 * 2**20
"""Of a file that is sent in one request; longer ones go in parts."""
PATIENCE = Patience(deadline_seconds=20.0)
"""Little: who asks has others that wait, and asks again."""
Result = TypeVar("Result")


class Bucket(Remote):
    """See `Remote`, whose attempts and errors these are. Names are relative to the URL."""

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        super().__init__(url, patience, doing="reached")

    def listed(self, part: str = "") -> dict[str, Facts]:
        """Every object below the folder `part`, or the one of that name; nothing where there is none."""
        found = self._ask(part, lambda client, url: client.listed(url.rstrip("/")))
        return {name.removeprefix(f"{self.url}/"): facts for name, facts in found.items() if not name.endswith("/")}

    def write(self, name: str, file: Path) -> None:
        """Send a file, whole.

        Raises:
            OSError: the file cannot be read.
        """
        size = file.stat().st_size
        if size < WHOLE_BYTES:
            self.replace(name, file.read_bytes())
        else:
            self._ask(name, lambda client, url: client.send(url, file), size)

    def replace(self, name: str, content: bytes) -> None:
        """Write an object; a reader sees the former one or this one."""
        self._ask(name, lambda client, url: client.replace(url, content), len(content))

    def create(self, name: str, content: bytes) -> bool:
        """False: there was one before."""
        return self._ask(name, lambda client, url: client.create(url, content))

    def remove(self, name: str) -> None:
        """Also where there is none."""
        self._ask(name, lambda client, url: client.remove(url))

    def _ask(self, name: str, ask: Callable[[StoreClient, str], Awaitable[Result]], size: int = 0) -> Result:
        """size: bytes that are sent."""
        url = f"{self.url}/{name}"
        more_seconds = size / SLOWEST_BYTES_PER_SECOND
        return self._attempts(url, partial(self._wait, url, lambda client: ask(client, url), more_seconds))
