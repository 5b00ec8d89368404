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
WAIT_SECONDS = 10.0
TIMES, BYTES = 50, 2**16
FIX = "Keep run.dir on a file system whose rename is atomic (NFS v4, Lustre, a local disk), not on a mounted bucket."


def check_renames(fleet: Fleet, nodes: Sequence[str], folder: str) -> list[Finding]:
    """The first node writes, another reads; alone, it does both."""
    writer, reader = nodes[0], nodes[-1]
    (begun,) = fleet.ask([Call(writer, replace, (folder, 1))], SECONDS)
    wrote, watched = fleet.ask([Call(writer, replace, (folder, TIMES)), Call(reader, watch, (folder,))], SECONDS)
    problems = [reply.problem for reply in (begun, wrote, watched) if reply.problem is not None]
    if problems:
        return [Finding(CHECK, "failed", problems[0], FIX, writer)]
    return [judge(reader, **watched.value)]


def replace(folder: str, times: int) -> None:
    """With a rest after each, in which the reader is sure to look."""
    for number in range(times):
        write_atomically(Path(folder) / "renamed", bytes([number]) * BYTES)
        time.sleep(BUSY_SECONDS / TIMES)


def watch(folder: str) -> dict[str, int]:
    """How many reads, how many were torn, and how many found no file; a second long from the first change on."""
    ends, reads, torn, absent, seen = time.monotonic() + WAIT_SECONDS, 0, 0, 0, set()
    while time.monotonic() < ends:
        try:
            content = (Path(folder) / "renamed").read_bytes()
        except OSError:  # gone, or NFS lost hold of the one that was replaced
            absent += 1
        else:
            reads, torn = reads + 1, torn + (len(content) != BYTES or len(set(content)) != 1)
            seen.add(content[:1])
            ends = min(ends, time.monotonic() + BUSY_SECONDS) if len(seen) == 2 else ends
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
    return Finding(CHECK, "ok", f"{reads} reads during replacements, all whole", node=node, measured=measured)
