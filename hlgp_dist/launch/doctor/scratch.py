"""A folder under run.dir for the checks of storage: made on every node, gone afterwards with all that was made."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from hlgp_dist.files import write_atomically
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Answers, Call, Fleet, ask_all, ask_each

WRITABLE = "run.dir is writable"
SECONDS = 60.0
FIX = "Make run.dir's folder writable for the user that Ray runs as, mount it, or give another run.dir."


@contextmanager
def scratch(fleet: Fleet, run_dir: str) -> Iterator[tuple[str, Answers]]:
    """The folder, and of each node that wrote its file there how many seconds it took."""
    folder = str(Path(run_dir) / f".hlgp-doctor-{uuid4().hex[:8]}")
    absent = ask_all(fleet, WRITABLE, missing, folder, seconds=SECONDS, fix=FIX)
    calls = {node: Call(node, write, (folder, name, node)) for node, name in file_names(fleet).items()}
    try:
        wrote = ask_each(fleet, WRITABLE, {node: calls[node] for node in absent.of}, seconds=SECONDS, fix=FIX)
        yield folder, Answers(wrote.of, absent.missing + wrote.missing)
    finally:
        fleet.ask([Call(node, clear, (folder, made)) for node, made in absent.of.items()], SECONDS)


def file_names(fleet: Fleet) -> dict[str, str]:
    """Of what each node writes."""
    return {node: f"node-{number}" for number, node in enumerate(fleet.nodes)}


def judge_written(seconds: dict[str, float]) -> list[Finding]:
    """One finding a node."""
    return [
        Finding(WRITABLE, "ok", f"a file written and synced in {1e3 * taken:.3g} ms", node=node)
        for node, taken in seconds.items()
    ]


def missing(folder: str) -> list[str]:
    """The folders that would have to be made, outermost first."""
    return [str(path) for path in [*reversed(Path(folder).parents), Path(folder)] if not path.exists()]


def write(folder: str, name: str, content: str) -> float:
    """Seconds that it took; the folder is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    write_atomically(Path(folder) / name, content.encode())
    return time.perf_counter() - began


def clear(folder: str, made: list[str]) -> None:
    """Take away the folder and, where nobody else uses them by now, those that were made for it."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in reversed(made):
        with suppress(OSError):
            Path(path).rmdir()
