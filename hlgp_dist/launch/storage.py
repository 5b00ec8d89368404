"""Where results are kept: a folder that everybody sees. Behind a URL it is a copy of one, see `copies`.

`publish` and `refresh` say where a process must not wait for what another one wrote; of a folder that everybody sees
they do nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hlgp_dist.errors import AtWork
from hlgp_dist.files import locked
from hlgp_dist.train.folder import RunFolder

Wanted = Callable[[str], bool]
"""Whether a file is to be fetched, by its name below the URL."""
TENSORS = ".safetensors"


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
