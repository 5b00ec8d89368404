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
from hlgp_dist.data.patience import Patience
from hlgp_dist.errors import AtWork, DataError, EnvironmentFailure, Unreachable

NAME = ".lock"
BEAT_SECONDS = 10.0
LAPSE_SECONDS = 60.0
"""A lease that has not been rewritten for so long, by the clock of who wants it, is nobody's."""
FRESH = 1 / 4
"""Of the lapse: how long a holder may take the lease for its own without asking. Another one waits for the whole of it,
and by then what is sent meanwhile has arrived, or was given up."""
LOOK_SECONDS = 2.0
PATIENCE = Patience(seconds=1.0, deadline_seconds=8.0)
"""So that one connection that stalls does not let it lapse."""
log = logging.getLogger("hlgp_dist")


class Lease:
    """Held from entering to leaving. `lost` is called once, in any thread, when somebody else has taken it over.

    Stores know no locks: two processes that find a lapsed lease at the same moment may both take it, and one of them
    finds out at its next beat, or when it asks.
    """

    def __init__(self, url: str, lost: Callable[[], None], lapse_seconds: float = LAPSE_SECONDS) -> None:
        self._bucket, self._lost, self._lapse_seconds = Bucket(url, PATIENCE), lost, lapse_seconds
        self._mine = {"host": platform.node(), "process": os.getpid(), "space": _space(), "lease": uuid4().hex}
        self._beats, self._confirmed_at, self._is_lost = 0, 0.0, False
        self._turn, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Raises:
        AtWork: another process is.
        EnvironmentFailure: the store refuses; `Unreachable` where it does not answer.
        """
        try:
            while not self._is_taken():
                self._wait_for_holder()
        except DataError as error:
            raise EnvironmentFailure(f"run.dir: {error}") from error
        except Unreachable as error:
            raise Unreachable(f"run.dir: {error}") from error
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
        except (DataError, Unreachable) as failure:
            log.warning("run.dir: %s; the lock that stays lapses by itself", failure)

    def confirm(self) -> None:
        """Ask the store whether it is still this process's, unless that was known a moment ago; see `lost`.

        Raises:
            DataError, Unreachable: the store refuses, or does not answer.
        """
        if time.monotonic() - self._confirmed_at > FRESH * self._lapse_seconds:
            self._renew()

    def _is_taken(self) -> bool:
        """Whether it is this process's now; an answer may get lost."""
        self._confirmed_at = time.monotonic()
        return self._bucket.create(NAME, self._content()) or self._is_mine()

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
        while not self._over.wait(min(BEAT_SECONDS, self._lapse_seconds / 6)) and not self._is_lost:
            try:
                self._renew()
            except (DataError, Unreachable) as error:  # whether it is still ours is seen when the store is back
                log.warning("run.dir: %s; the lock is not renewed", error)

    def _renew(self) -> None:
        with self._turn:
            asked_at = time.monotonic()
            if self._is_lost:
                return
            if not self._is_mine():
                self._is_lost = True
                self._lost()
                return
            self._beats += 1
            self._bucket.replace(NAME, self._content())
            self._confirmed_at = asked_at

    def _content(self) -> bytes:
        return json.dumps({**self._mine, "beats": self._beats}).encode()

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
