"""Rename: who reads a file that is replaced again and again sees one content or the other, whole, and never none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hlgp_dist.files import write_atomically
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, Fleet

CHECK = "rename"
SECONDS = 60.0
BUSY_SECONDS = 1.0
WAIT_SECONDS = 20.0
TIMES, BYTES = 40, 2**16
FIX = "Keep run.dir on a file system whose rename is atomic (NFS v4, Lustre, a local disk), not on a mounted bucket."


def check_renames(fleet: Fleet, nodes: Sequence[str], folder: str) -> list[Finding]:
    """The first node writes, another reads; alone, it does both."""
    writer, reader = nodes[0], nodes[-1]
    calls = [Call(writer, replace, (folder,)), Call(reader, watch, (folder,))]
    wrote, watched = fleet.ask(calls, SECONDS)
    if wrote.problem is not None or watched.problem is not None:
        return [Finding(CHECK, "failed", f"{wrote.problem or watched.problem}", FIX, writer)]
    return [judge(reader, **watched.value)]


def replace(folder: str) -> None:
    """Many times, with a rest in which the reader is sure to look."""
    for number in range(TIMES):
        write_atomically(Path(folder) / "renamed", bytes([number]) * BYTES)
        time.sleep(BUSY_SECONDS / TIMES)
    (Path(folder) / "finished").touch()


def watch(folder: str) -> dict[str, int]:
    """Reads from the file's first appearance on: how many, and how many of them were torn or found no file."""
    file, finished = Path(folder) / "renamed", Path(folder) / "finished"
    deadline, reads, torn, absent = time.monotonic() + WAIT_SECONDS, 0, 0, 0
    while not finished.exists() and time.monotonic() < deadline:
        try:
            content = file.read_bytes()
        except OSError:  # gone, or NFS lost hold of the one that was replaced
            absent += reads > 0
        else:
            reads, torn = reads + 1, torn + (len(content) != BYTES or len(set(content)) != 1)
        time.sleep(0.002)
    return {"reads": reads, "torn": torn, "absent": absent}


def judge(node: str, *, reads: int, torn: int, absent: int) -> Finding:
    """Torn is a failure; absent is what NFS does to a reader who is slow, or a file system without atomic rename."""
    measured = {"reads": reads, "torn": torn, "absent": absent}
    if torn:
        return Finding(CHECK, "failed", f"{torn} of {reads} reads during replacement were torn", FIX, node, measured)
    if absent:
        found = f"{absent} of {reads + absent} reads during replacement found no file"
        return Finding(CHECK, "warning", found, FIX, node, measured)
    if not reads:
        return Finding(CHECK, "skipped", "the file that is replaced is not seen", node=node)
    return Finding(CHECK, "ok", f"{reads} reads during {TIMES} replacements, all whole", node=node, measured=measured)
