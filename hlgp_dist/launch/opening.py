"""From a path or a URL to the results that are kept there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlgp_dist.config.places import is_remote
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import Storage, View


@contextmanager
def opened(place: str | Path, view: View | None = None, stop: Stop | None = None) -> Iterator[Storage]:
    """The results at a path or URL. Of a URL what `view` says is fetched, and everything written is sent.

    Raises:
        ConfigError: a package is missing.
        Interrupted: `stop` was requested while the store was waited for.
        EnvironmentFailure: the store cannot be reached, refuses, or does not take the last of it.
    """
    if not is_remote(str(place)):
        yield Storage(str(place), Path(place))
        return
    from hlgp_dist.launch.copies import copied  # a folder needs no client of a store

    with copied(str(place), view or View(), stop or Stop()) as copy:
        yield copy
