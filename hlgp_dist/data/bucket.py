"""A folder of objects behind an s3:// or gs:// URL that may be written to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hlgp_dist.data.patience import Patience
from hlgp_dist.data.place import Facts
from hlgp_dist.data.remote import Remote

SLOWEST_BYTES_PER_SECOND = 2**20
"""At which a file may be sent before an attempt counts as failed."""
WHOLE_BYTES = 64 * 2**20
"""Of a file that is sent in one request; longer ones go in parts."""
PATIENCE = Patience(attempts=3, deadline_seconds=20.0)
"""Less than for shards: who asks has others that wait, and asks again."""


class Bucket(Remote):
    """See `Remote`, whose attempts and errors these are. Names are relative to the URL."""

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        super().__init__(url, patience, doing="reached")

    def listed(self, part: str = "") -> dict[str, Facts]:
        """Every object below the folder `part`, or the one of that name; nothing where there is none."""
        url = f"{self.url}/{part}".rstrip("/")
        found = self._attempts(url, partial(self._wait, url, lambda client: client.listed(url)))
        return {name.removeprefix(f"{self.url}/"): facts for name, facts in found.items() if not name.endswith("/")}

    def write(self, name: str, file: Path) -> Facts | None:
        """Send a file, whole; what the store then says of it.

        Raises:
            OSError: the file cannot be read.
        """
        size = file.stat().st_size
        if size < WHOLE_BYTES:
            self.replace(name, file.read_bytes())
        else:
            url, more = f"{self.url}/{name}", size / SLOWEST_BYTES_PER_SECOND
            self._attempts(url, partial(self._wait, url, lambda client: client.send(url, file), more))
        return self.facts(name)

    def replace(self, name: str, content: bytes) -> None:
        """Write an object; a reader sees the former one or this one."""
        url, more = f"{self.url}/{name}", len(content) / SLOWEST_BYTES_PER_SECOND
        self._attempts(url, partial(self._wait, url, lambda client: client.replace(url, content), more))

    def create(self, name: str, content: bytes) -> bool:
        """False: there was one before."""
        url = f"{self.url}/{name}"
        is_new: bool = self._attempts(url, partial(self._wait, url, lambda client: client.create(url, content)))
        return is_new

    def remove(self, name: str) -> None:
        """Also where there is none."""
        url = f"{self.url}/{name}"
        self._attempts(url, partial(self._wait, url, lambda client: client.remove(url)))
