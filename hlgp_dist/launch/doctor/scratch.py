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
from hlgp_dist.launch.doctor.fleet import Answers, Call, Fleet, ask_each

WRITABLE = "run.dir is writable"
SECONDS = 60.0
FIX = "Make run.dir's folder writable for the user that Ray runs as, mount it, or give another run.dir."


@contextmanager
def scratch(fleet: Fleet, run_dir: str) -> Iterator[tuple[str, Answers]]:
    """The folder, and of each node that wrote its file there how many seconds it took."""
    folder = str(Path(run_dir) / f".hlgp-doctor-{uuid4().hex[:8]}")
    calls = {node: Call(node, write, (folder, name, node)) for node, name in file_names(fleet).items()}
    answers = ask_each(fleet, WRITABLE, calls, seconds=SECONDS, fix=FIX)
    try:
        yield folder, Answers({node: seconds for node, (seconds, _) in answers.of.items()}, answers.missing)
    finally:
        made = {node: answers.of[node][1] if node in answers.of else [] for node in fleet.nodes}
        for node in sorted(made, key=lambda node: len(made[node])):  # those that made folders come last
            fleet.ask([Call(node, clear, (folder, made[node]))], SECONDS)


def file_names(fleet: Fleet) -> dict[str, str]:
    """Of what each node writes."""
    return {node: f"node-{number}" for number, node in enumerate(fleet.nodes)}


def judge_written(seconds: dict[str, float]) -> list[Finding]:
    """One finding a node."""
    return [
        Finding(WRITABLE, "ok", f"a file written and synced in {1e3 * taken:.3g} ms", node=node)
        for node, taken in seconds.items()
    ]


def write(folder: str, name: str, content: str) -> tuple[float, list[str]]:
    """Seconds for the file, and the folders that had to be made, outermost first."""
    made: list[str] = []
    try:
        for path in [*reversed(Path(folder).parents), Path(folder)]:
            if not path.exists():
                path.mkdir(exist_ok=True)  # another node may do it now
                made.append(str(path))
        began = time.perf_counter()
        write_atomically(Path(folder) / name, content.encode())
    except BaseException:
        clear(folder, made)
        raise
    return time.perf_counter() - began, made


def clear(folder: str, made: list[str]) -> None:
    """Take away the folder and, where nobody else uses them by now, those that were made for it."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in reversed(made):
        with suppress(OSError):
            Path(path).rmdir()
