"""Where results are kept: a folder that everybody sees, or a copy of one behind a URL that is kept in step with it.

Each process has a copy of its own. It sends what it wrote and fetches what others did every few seconds, and at once
where `publish` and `refresh` say so; of a folder that everybody sees these do nothing.
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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hlgp_dist.config.places import is_remote
from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.lease import Lease
from hlgp_dist.data.mirror import Mirror, Wanted
from hlgp_dist.data.remote import check_packages
from hlgp_dist.errors import AtWork, DataError, EnvironmentFailure
from hlgp_dist.files import locked
from hlgp_dist.train.folder import RunFolder

log = logging.getLogger("hlgp_dist")
INTERVAL_SECONDS = 4.0
"""Between two looks, which take at most a tenth of the time."""
DELAY_SECONDS = 20.0
"""Within which what one process wrote is read by another."""
TENSORS = ".safetensors"
COPIES, UNSENT = "hlgp-results-", "hlgp-unsent-"
"""How their folders begin, among those for temporary files."""
ALIVE = ".alive"
NEW_SECONDS = 60.0


class Storage:
    """A folder of results; see `opened`."""

    delay = 0.0
    """Seconds until others read what was written."""

    def __init__(self, place: str, path: Path) -> None:
        self.place, self.path = place, path

    def publish(self) -> None:
        """Others read from now on what was written until now."""

    def refresh(self) -> None:
        """What others have published is read from now on."""

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process runs in the folder.

        Raises:
            AtWork: one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock", blocking=False))
            except BlockingIOError as error:
                raise AtWork(f"run: another process is at work in {self.path}; wait for it or end it") from error
            yield

    def run(self, *names: str) -> RunFolder:
        """The run folder of that name below, or this one."""
        return RunFolder(self.path, place=self.place, keeper=self).below(*names)


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


def everything(name: str) -> bool:
    """All that there is."""
    return True


def without_tensors(name: str) -> bool:
    """What a launcher reads of a run: of checkpoints only that they are there."""
    return not name.endswith(TENSORS)


def of_report(name: str) -> bool:
    """What a comparison reads."""
    return name.endswith((".yaml", ".json")) and without_details(name)


def event_files(name: str) -> bool:
    """What TensorBoard reads."""
    return "/tensorboard/" in f"/{name}"


def without_details(name: str) -> bool:
    """What a search reads of its trials: neither checkpoints nor how each rank of an attempt is."""
    return "/checkpoints/" not in f"/{name}" and "/logs/attempts/" not in f"/{name}"


@contextmanager
def opened(place: str | Path, parts: Sequence[str] = ("",), wanted: Wanted = everything) -> Iterator[Storage]:
    """The results at a path or URL. Of a URL `wanted` of the `parts` are fetched, and everything written is sent.

    Raises:
        ConfigError: a package is missing.
        EnvironmentFailure: the store cannot be reached, refuses, or does not take the last of it.
    """
    if not is_remote(str(place)):
        yield Storage(str(place), Path(place))
        return
    check_packages("run.dir", str(place))
    _sweep()
    path = Path(tempfile.mkdtemp(prefix=COPIES))
    with locked(path / ALIVE):
        copy = Copy(str(place), path, parts, wanted)
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
