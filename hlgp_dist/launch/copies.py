"""Copies of results behind a URL: each process works in one of its own, in the folder for temporary files.

It sends what it wrote and fetches what others did every few seconds, and at once where it is told to.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.lease import NAME, Lease
from hlgp_dist.data.mirror import READINGS, Mirror
from hlgp_dist.data.patience import Patience, insist
from hlgp_dist.data.remote import check_packages
from hlgp_dist.errors import DataError, EnvironmentFailure, Interrupted, Unreachable
from hlgp_dist.launch.copy_folders import own_folder, set_aside
from hlgp_dist.launch.sending import gone_with, order
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import AWAY_SECONDS, Storage, View, clearing, event_files, is_message

log = logging.getLogger("hlgp_dist")
INTERVAL_SECONDS, LONGEST_SECONDS = 4.0, 15.0
"""Between two looks at the results; the longest where a list of them takes more than a tenth of the time."""
DELAY_SECONDS = 20.0
"""Within which a message is read by who looks for it, unless the store is away."""
LAST_SECONDS = 60.0
"""How long a store that is away is waited for where a process is about to leave."""
HEARD_SECONDS = 15.0
"""How old the launcher's latest word may be when results are sent."""
SHORT = Patience(seconds=1.0, deadline_seconds=8.0)
"""For messages: what they say is soon out of date."""


@contextmanager
def copied(place: str, view: View, stop: Stop) -> Iterator[Storage]:
    """See `opening.opened`."""
    check_packages("run.dir", place)
    with own_folder() as path:
        copy = Copy(place, path, view, stop)
        copy.start()
        try:
            yield copy
        finally:
            copy.close()


class Copy(Storage):
    """Of what is behind a URL: results, and messages, which go by a way of their own and never wait for a long file."""

    delay = DELAY_SECONDS

    def __init__(self, place: str, path: Path, view: View, stop: Stop) -> None:
        super().__init__(place, path)
        self._view, self._bucket, self._stop = view, Bucket(place), stop
        self._messages = Mirror(
            Bucket(place, SHORT), path, view.messages, mine=is_message, gone_with=gone_with, permit=self._permit
        )
        self._results = Mirror(
            self._bucket,
            path,
            view.parts,
            view.wanted,
            mine=lambda name: not is_message(name),
            grows=event_files,
            order=order,
            gone_with=gone_with,
            permit=self._permit_results,
        )
        self._over, self._is_current, self._heard_at = threading.Event(), True, 0.0
        self._is_replaced = False
        """Another process is at work in this one's place: what is here is not sent any more."""
        self._lease: Lease | None = None
        self._threads = [
            threading.Thread(target=self._exchange, name="messages", daemon=True),
            threading.Thread(target=self._keep_in_step, name="storage", daemon=True),
        ]

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

    def obtain(self, path: Path) -> None:
        part = str(path.relative_to(self.path))
        self._insist(lambda: self._results.obtain(part), AWAY_SECONDS)

    def clear(self) -> None:
        super().clear()
        self._insist(self._clear_bucket, AWAY_SECONDS)
        self.refresh()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with Lease(self.place, lost=self._give_way) as self._lease:
            self.refresh()
            try:
                yield
            except BaseException:
                self.try_publish()
                raise
            self.publish()
        self._lease = None

    def start(self) -> None:
        """Fetch everything, then keep in step.

        Raises:
            EnvironmentFailure: the store refuses; `Unreachable` where it does not answer.
        """
        try:
            self._insist(self._fetch if self._view.away_seconds else self._look, self._view.away_seconds)
        except EnvironmentFailure:
            shutil.rmtree(self.path)
            raise
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Send the last of it; the copy is gone afterwards.

        Raises:
            EnvironmentFailure: it cannot be sent; the copy stays and is named.
        """
        self._over.set()
        self._stop = Stop()  # the last of it is sent in any case
        for thread in self._threads:
            thread.join()
        if self._is_replaced:
            log.warning("run.dir: what another process has gone on with stays here, too: %s", set_aside(self.path))
            return
        try:
            self._insist(self._send, LAST_SECONDS)
        except Exception as error:
            kind = Unreachable if isinstance(error, Unreachable) else EnvironmentFailure
            raise kind(f"{error}; what was not sent lies in {set_aside(self.path)}") from error
        shutil.rmtree(self.path, ignore_errors=True)

    def _send(self) -> None:
        self._messages.publish()
        self._results.publish()

    def _look(self) -> bool:
        """Whether everything was read as one whole."""
        return all([self._messages.refresh(), self._results.refresh()])

    def _fetch(self) -> None:
        if not any(self._look() for _ in range(READINGS)):
            raise Unreachable(f"{self.place}: files there change faster than they are read")

    def _clear_bucket(self) -> None:
        for name in sorted(self._bucket.listed().keys() - {NAME}, key=clearing):
            self._bucket.remove(name)

    def _insist(self, call: Callable[[], object], seconds: float) -> None:
        try:
            insist(call, seconds, self._nap)
        except Unreachable as error:
            raise Unreachable(f"run.dir: {error}") from error
        except (DataError, OSError) as error:
            raise EnvironmentFailure(f"run.dir: {error}") from error

    def _nap(self, seconds: float) -> None:
        self._stop.nap(seconds)
        self._stop.check("while run.dir did not answer")

    def _exchange(self) -> None:
        while not self._over.wait(INTERVAL_SECONDS) and not self._is_replaced:
            is_heard = False
            with _reported():
                self._hear()
                is_heard = True
                self._messages.publish()
            self._is_current = is_heard

    def _keep_in_step(self) -> None:
        while not self._over.wait(self._pause()) and not self._is_replaced:
            with _reported():
                if self._view.is_followed:
                    self._results.refresh()
                self._results.publish()

    def _pause(self) -> float:
        return min(max(INTERVAL_SECONDS, 9 * self._results.listing_seconds), LONGEST_SECONDS)

    def _hear(self) -> None:
        asked_at = time.monotonic()
        self._messages.refresh()
        self._heard_at = asked_at
        self._is_replaced |= self._is_told_to_leave()

    def _is_told_to_leave(self) -> bool:
        leave = self._view.leave
        with suppress(FileNotFoundError):
            return leave is not None and (self.path / leave).read_text() == "leave"
        return False

    def _permit(self) -> None:
        """Before anything is sent.

        Raises:
            Interrupted: another process is at work in this one's place.
        """
        if self._lease is not None:
            self._lease.confirm()
        if self._is_replaced:
            raise Interrupted(f"another process has taken this one's place in {self.place}")

    def _permit_results(self) -> None:
        """Who may be told to leave asks first, if that was not a moment ago: it sends nothing after a long outage."""
        if self._view.leave is not None and time.monotonic() - self._heard_at > HEARD_SECONDS:
            self._hear()
        self._permit()

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
