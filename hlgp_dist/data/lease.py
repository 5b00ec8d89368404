"""Who is at work on a folder of objects: an object that its holder rewrites again and again."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.patience import Patience, not_kept
from hlgp_dist.errors import AtWork, DataError

NAME = ".lock"
BEAT_SECONDS = 10.0
LAPSE_SECONDS = 60.0
"""A lease that has not been rewritten for so long, by the clock of who wants it, is nobody's."""
LOOK_SECONDS = 2.0
PATIENCE = Patience(attempts=2, deadline_seconds=8.0)
"""So that one connection that stalls does not let it lapse."""
log = logging.getLogger("hlgp_dist")


class Lease:
    """Held from entering to leaving. `lost` is called once, in another thread, when somebody else has taken it over.

    Stores know no locks: two processes that find a lapsed lease at the same moment may both take it, and one of them
    finds out at its next beat.
    """

    def __init__(self, url: str, lost: Callable[[], None], lapse_seconds: float = LAPSE_SECONDS) -> None:
        self._bucket, self._lost, self._lapse_seconds = Bucket(url, PATIENCE), lost, lapse_seconds
        self._mine = {"host": platform.node(), "process": os.getpid(), "space": _space(), "lease": uuid4().hex}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Raises:
        AtWork: another process is.
        EnvironmentFailure: the store cannot be reached, or refuses.
        """
        try:
            while not self._bucket.create(NAME, self._content(0)) and not self._is_mine():  # an answer may get lost
                self._wait_for_holder()
        except DataError as error:
            raise not_kept(error) from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        try:
            if self._is_mine():
                self._bucket.remove(NAME)
        except DataError as failure:
            log.warning("run.dir: %s; the lock that stays lapses by itself", failure)

    def _wait_for_holder(self) -> None:
        """Return once the lease is gone or has lapsed, and is removed."""
        first = self._bucket.facts(NAME)
        holder = self._holder()
        if first is None or holder is None:
            return
        until = time.monotonic() + (0.0 if self._has_died(holder) else self._lapse_seconds)
        while time.monotonic() < until:
            time.sleep(min(LOOK_SECONDS, self._lapse_seconds / 10))
            now = self._bucket.facts(NAME)
            if now is None:
                return
            if now != first:
                where = f"process {holder.get('process')} of {holder.get('host')}"
                raise AtWork(f"run: {where} is at work in {self._bucket.url}; wait for it or end it")
        if self._bucket.facts(NAME) == first:
            self._bucket.remove(NAME)

    def _has_died(self, holder: dict[str, object]) -> bool:
        """Where that can be seen from here."""
        if holder.get("space") != self._mine["space"]:
            return False
        try:
            os.kill(int(str(holder["process"])), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def _keep(self) -> None:
        beats = 0
        while not self._over.wait(min(BEAT_SECONDS, self._lapse_seconds / 6)):
            beats += 1
            try:
                if not self._is_mine():
                    self._lost()
                    return
                self._bucket.replace(NAME, self._content(beats))
            except DataError as error:  # whether it is still ours is seen when the store is back
                log.warning("run.dir: %s; the lock is not renewed", error)

    def _content(self, beats: int) -> bytes:
        return json.dumps({**self._mine, "beats": beats}).encode()

    def _is_mine(self) -> bool:
        holder = self._holder()
        return holder is not None and holder.get("lease") == self._mine["lease"]

    def _holder(self) -> dict[str, object] | None:
        facts = self._bucket.facts(NAME)
        if facts is None:
            return None
        try:
            holder: dict[str, object] = json.loads(self._bucket.read(NAME, 0, facts.size))
        except ValueError:  # being replaced, or nobody's
            return {}
        return holder


def _space() -> str:
    """In which process numbers mean the same: a boot of a machine, and a container of it."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid4().hex
