"""Copies of results behind a URL: each process works in one of its own, in the folder for temporary files.

It sends what it wrote and fetches what others did every few seconds, and at once where it is told to.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.lease import NAME, Lease
from hlgp_dist.data.mirror import READINGS, Mirror
from hlgp_dist.data.patience import Unreachable, not_kept
from hlgp_dist.data.remote import check_packages
from hlgp_dist.errors import Away, DataError, EnvironmentFailure, Interrupted
from hlgp_dist.launch.stop import STOP_FILE
from hlgp_dist.launch.storage import Storage, View

log = logging.getLogger("hlgp_dist")
INTERVAL_SECONDS = 4.0
"""Between two looks, which take at most a tenth of the time."""
DELAY_SECONDS = 20.0
"""Within which what one process wrote is read by another."""
AWAY_SECONDS, LAST_SECONDS = 600.0, 60.0
"""How long a store may be away where a decision waits for it, and where a process waits to leave."""
AGAIN_SECONDS = 5.0
COPIES, UNSENT = "hlgp-results-", "hlgp-unsent-"
"""How their folders begin."""
NEW_SECONDS = 60.0
PASSING = (".failure.json", ".stacks.txt", STOP_FILE)
"""How files end that are removed once they have been heeded."""


@contextmanager
def copied(place: str, view: View) -> Iterator[Storage]:
    """See `opening.opened`."""
    check_packages("run.dir", place)
    _sweep()
    path = Path(tempfile.mkdtemp(prefix=COPIES))
    with _held(path):
        copy = Copy(place, path, view)
        copy.start()
        try:
            yield copy
        finally:
            copy.close()


def _sweep() -> None:
    """Remove the copies of processes that were killed. One that is just being made is left to its maker."""
    for path in Path(tempfile.gettempdir()).glob(f"{COPIES}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > NEW_SECONDS:
                with _held(path):
                    shutil.rmtree(path)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locked itself, for which those that tidy up folders for temporary files pass it by, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


class Copy(Storage):
    """Of what is behind a URL."""

    delay = DELAY_SECONDS

    def __init__(self, place: str, path: Path, view: View) -> None:
        super().__init__(place, path)
        self._view, self._bucket = view, Bucket(place)
        self._mirror = Mirror(self._bucket, path, view.parts, view.wanted, order, is_removable)
        self._over, self._is_current = threading.Event(), True
        self._is_replaced = False
        """Another process is at work in this one's place: what is here is not sent any more."""
        self._thread = threading.Thread(target=self._keep_in_step, name="storage", daemon=True)

    @property
    def is_current(self) -> bool:
        return self._is_current

    def publish(self) -> None:
        self._insist(self._send, AWAY_SECONDS)

    def try_publish(self) -> None:
        with _reported():
            self._send()

    def refresh(self) -> None:
        self._insist(self._fetch, AWAY_SECONDS)

    def clear(self) -> None:
        super().clear()
        for name in sorted(self._bucket.listed().keys() - {NAME}):
            self._bucket.remove(name)
        self.refresh()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with Lease(self.place, lost=self._give_way):
            self.refresh()
            try:
                yield
            except BaseException:
                self.try_publish()
                raise
            self.publish()

    def start(self) -> None:
        """Fetch everything, then keep in step.

        Raises:
            EnvironmentFailure: the store cannot be reached, or refuses.
        """
        try:
            self._fetch()
        except DataError as error:
            shutil.rmtree(self.path)
            raise not_kept(error) from error
        self._thread.start()

    def close(self) -> None:
        """Send the last of it; the copy is gone afterwards.

        Raises:
            EnvironmentFailure: it cannot be sent; the copy stays and is named.
        """
        self._over.set()
        self._thread.join()
        if self._is_replaced:
            log.warning("run.dir: what another process has gone on with stays here, too: %s", self._kept())
            return
        try:
            self._insist(self._send, LAST_SECONDS)
        except Exception as error:
            kind = Away if isinstance(error, Away) else EnvironmentFailure
            raise kind(f"{error}; what was not sent lies in {self._kept()}") from error
        shutil.rmtree(self.path, ignore_errors=True)

    def _kept(self) -> Path:
        return self.path.rename(self.path.with_name(self.path.name.replace(COPIES, UNSENT)))

    def _send(self) -> None:
        if self._is_replaced:
            raise Interrupted(f"another process has taken this one's place in {self.place}")
        self._mirror.publish()

    def _fetch(self) -> None:
        for _ in range(READINGS):
            if self._mirror.refresh():
                return

    def _insist(self, call: Callable[[], None], seconds: float) -> None:
        """While the store is away try again."""
        until = time.monotonic() + seconds
        while True:
            try:
                return call()
            except Unreachable as error:
                if time.monotonic() > until:
                    raise not_kept(error) from error
                log.warning("run.dir: %s; it is waited for", error)
                time.sleep(AGAIN_SECONDS)
            except (DataError, OSError) as error:
                raise not_kept(error) from error

    def _keep_in_step(self) -> None:
        """Fetch first: who is told to leave sends nothing any more."""
        took = 0.0
        while not self._over.wait(max(INTERVAL_SECONDS, 9 * took)) and not self._is_replaced:
            began, is_fetched = time.monotonic(), False
            with _reported():
                self._mirror.refresh(self._view.follow)
                is_fetched = True
                if self._is_told_to_leave():
                    self._is_replaced = True
                    return
                self._send()
            self._is_current, took = is_fetched, time.monotonic() - began

    def _is_told_to_leave(self) -> bool:
        leave = self._view.leave
        with suppress(FileNotFoundError):
            return leave is not None and (self.path / leave).read_text() == "leave"
        return False

    def _give_way(self) -> None:
        self._is_replaced = True
        log.error("run.dir: another process has taken this one's place, while the store was out of reach")
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _reported() -> Iterator[None]:
    """Where the store is away a run goes on without it: what was written is here, and is sent at the next attempt."""
    try:
        yield
    except Exception as error:  # of whatever kind: the thread that keeps in step must not end by it
        log.warning("run.dir: %s; it is tried again", error)


def order(name: str) -> int:
    """A checkpoint never gets ahead of the record it is part of, nor the result of what it came from."""
    return 2 if name.endswith("result.json") else 1 if "/checkpoints/" in f"/{name}" else 0


def is_removable(name: str) -> bool:
    """What the code removes itself; all else that is gone was removed by somebody who did not mean the store."""
    return order(name) > 0 or "/tensorboard/" in f"/{name}" or name.endswith(PASSING)
