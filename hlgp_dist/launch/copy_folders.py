"""Where copies of results lie: each in a folder of its own among the temporary files, locked while it is in use."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COPIES, UNSENT = "hlgp-results-", "hlgp-unsent-"
"""How they begin."""
NEW_SECONDS = 60.0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A new one, locked inside; whoever leaves removes it, or sets it aside."""
    _sweep()
    path = Path(tempfile.mkdtemp(prefix=COPIES))
    with _held(path):
        yield path


def set_aside(path: Path) -> Path:
    """Where it is kept from now on, for the user."""
    return path.rename(path.with_name(path.name.replace(COPIES, UNSENT)))


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
