"""Where results are kept: a folder that everybody sees. Behind a URL it is a copy of one, see `copies`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.errors import AtWork
from hlgp_dist.files import locked, sweep
from hlgp_dist.launch.channel import STACKS
from hlgp_dist.launch.stop import STOP_FILE
from hlgp_dist.train.folder import Keeper, RunFolder

Wanted = Callable[[str], bool]
"""Whether a file is to be fetched, by its name below the URL."""
TENSORS = ".safetensors"
LOCK = ".lock"
CONFIG = "config.yaml"
AWAY_SECONDS = 600.0
"""How long a store may be away where a run that has begun waits for it."""


class Storage(Keeper):
    """A folder of results; see `opening.opened`."""

    def __init__(self, place: str, path: Path) -> None:
        self.place, self.path = place, path

    def clear(self) -> None:
        """Remove everything but the lock. Killed on the way, it leaves what is known whose it is, and unfinished."""
        sweep(self.path)
        for child in sorted(self.path.iterdir(), key=lambda child: clearing(child.name)):
            if child.is_dir() and not child.is_symlink():
                aside = child.with_name(f".{child.name}.aside")
                child.rename(aside)
                shutil.rmtree(aside)
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


def clearing(name: str) -> tuple[int, str]:
    """The order in which files are removed: what says that the run is done, what it would go on with, and last whose
    it is."""
    top = name.partition("/")[0]
    return {"result.json": 0, "checkpoints": 1, CONFIG: 3}.get(top, 2), name


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


def is_message(name: str) -> bool:
    """What processes tell each other, which waits for nothing else: requests, beats, reasons, stacks."""
    return "/attempts/" in f"/{name}" or name.endswith((STOP_FILE, STACKS))


class View(NamedTuple):
    """What a process reads of a folder behind a URL: those `wanted` of the `parts`, at the start and, if they are
    followed, from then on; and the messages among `messages`, which are names or folders.

    leave: where this message says `leave`, nothing is sent any more.
    away_seconds: how long a store that is away at the start is waited for. Who waits also wants everything whole.
    """

    wanted: Wanted = everything
    parts: tuple[str, ...] = ("",)
    messages: tuple[str, ...] = ()
    is_followed: bool = True
    leave: str | None = None
    away_seconds: float = 0.0
