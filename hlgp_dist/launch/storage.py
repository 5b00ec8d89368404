"""Where results are kept: a folder that everybody sees. Behind a URL it is a copy of one, see `copies`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.errors import AtWork
from hlgp_dist.files import locked
from hlgp_dist.train.folder import Keeper, RunFolder

Wanted = Callable[[str], bool]
"""Whether a file is to be fetched, by its name below the URL."""
TENSORS = ".safetensors"
LOCK = ".lock"


class Storage(Keeper):
    """A folder of results; see `opening.opened`."""

    def __init__(self, place: str, path: Path) -> None:
        self.place, self.path = place, path

    def clear(self) -> None:
        """Remove everything but the lock."""
        for child in self.path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != LOCK:
                child.unlink()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process runs in the folder; when it is left, others see what came of it.

        Raises:
            AtWork: one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / LOCK, blocking=False))
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


DETAILS = ("checkpoints", "attempts", "tensorboard", "metrics.jsonl")


def without_details(name: str) -> bool:
    """What a search reads of its trials while they run."""
    return not any(part in DETAILS for part in name.split("/"))


def journals(name: str) -> bool:
    """What it reads of them at its end."""
    return name.endswith("metrics.jsonl")


class View(NamedTuple):
    """What a process reads of a folder behind a URL: those `wanted` of the `parts` at the start, then of `follow`, if
    that is another choice. Where the file `leave` says `leave`, nothing is sent any more.
    """

    wanted: Wanted = everything
    parts: tuple[str, ...] = ("",)
    follow: tuple[str, ...] | None = None
    leave: str | None = None
