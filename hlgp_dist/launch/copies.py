"""Copies of results behind a URL: each process works in one of its own, in the folder for temporary files.

It sends what it wrote and fetches what others did every few seconds, and at once where it is told to.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.lease import Lease
from hlgp_dist.data.mirror import Mirror
from hlgp_dist.data.remote import check_packages
from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.files import locked
from hlgp_dist.launch.storage import Storage, Wanted

log = logging.getLogger("hlgp_dist")
INTERVAL_SECONDS = 4.0
"""Between two looks, which take at most a tenth of the time."""
DELAY_SECONDS = 20.0
"""Within which what one process wrote is read by another."""
COPIES, UNSENT = "hlgp-results-", "hlgp-unsent-"
"""How their folders begin."""
ALIVE = ".alive"
NEW_SECONDS = 60.0


@contextmanager
def copied(place: str, parts: Sequence[str], wanted: Wanted) -> Iterator[Storage]:
    """See `opening.opened`."""
    check_packages("run.dir", place)
    _sweep()
    path = Path(tempfile.mkdtemp(prefix=COPIES))
    with locked(path / ALIVE):
        copy = Copy(place, path, parts, wanted)
        copy.start()
        try:
            yield copy
        finally:
            copy.close()


def _sweep() -> None:
    """Remove the copies of processes that were killed. One that is just being made is left to its maker."""
    for file in Path(tempfile.gettempdir()).glob(f"{COPIES}*/{ALIVE}"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > NEW_SECONDS:
                with locked(file, blocking=False):
                    shutil.rmtree(file.parent, ignore_errors=True)


class Copy(Storage):
    """Of what is behind a URL."""

    delay = DELAY_SECONDS

    def __init__(self, place: str, path: Path, parts: Sequence[str], wanted: Wanted) -> None:
        super().__init__(place, path)
        self._bucket = Bucket(place)
        self._mirror = Mirror(self._bucket, path, parts, wanted, order)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_in_step, name="storage", daemon=True)

    def publish(self) -> None:
        _tried(self._mirror.publish)

    def refresh(self) -> None:
        _tried(self._mirror.refresh)

    def clear(self) -> None:
        for name in sorted(self._bucket.listed()):
            self._bucket.remove(name)
        super().clear()
        self._mirror.refresh()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with Lease(self._bucket, lost=_stop_this_process):
            self.refresh()
            yield

    def start(self) -> None:
        """Fetch everything, then keep in step.

        Raises:
            EnvironmentFailure: the store cannot be reached, or refuses.
        """
        try:
            self._mirror.refresh()
        except DataError as error:
            shutil.rmtree(self.path)
            raise EnvironmentFailure(f"run.dir: {error}") from error
        self._thread.start()

    def close(self) -> None:
        """Send the last of it; the copy is gone afterwards.

        Raises:
            EnvironmentFailure: it cannot be sent; the copy stays and is named.
        """
        self._over.set()
        self._thread.join()
        try:
            self._mirror.publish()
        except DataError as error:
            kept = self.path.rename(self.path.with_name(self.path.name.replace(COPIES, UNSENT)))
            raise EnvironmentFailure(f"run.dir: {error}; what was not sent lies in {kept}") from error
        shutil.rmtree(self.path, ignore_errors=True)

    def _keep_in_step(self) -> None:
        took = 0.0
        while not self._over.wait(max(INTERVAL_SECONDS, 9 * took)):
            began = time.monotonic()
            self.publish()
            self.refresh()
            took = time.monotonic() - began


def _tried(call: Callable[[], None]) -> None:
    """Where the store is away a run goes on without it: what was written is here, and is sent at the next attempt."""
    try:
        call()
    except DataError as error:
        log.warning("run.dir: %s; it is tried again", error)


def _stop_this_process() -> None:
    log.error("run.dir: another process has taken this one's place, while the store was out of reach")
    os.kill(os.getpid(), signal.SIGTERM)


def order(name: str) -> int:
    """A checkpoint never gets ahead of the record it is part of, nor the result of what it came from."""
    return 2 if name.endswith("result.json") else 1 if "/checkpoints/" in f"/{name}" else 0
