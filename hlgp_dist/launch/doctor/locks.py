"""flock: what one process holds no other gets, on the same node and on others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hlgp_dist.files import locked
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, Fleet

CHECK = "flock"
SECONDS = 90.0
WAIT_SECONDS = 40.0
"""NFS may go on for 30 s not to show a file that was asked for before it was there."""
FIX = "Mount the folder with locks (NFS: v4 or `local_lock=none`, Lustre: `-o flock`)."
ALONE = "Do not start the same run from two nodes at once, or mount the folder with locks between nodes (NFS v4)."


def check_locks(fleet: Fleet, nodes: Sequence[str], folder: str) -> list[Finding]:
    """The first node holds the lock while each of the others tries; alone, a second process of its own does."""
    holder, *others = nodes
    contenders = others or [holder]
    names = [f"tried-{number}" for number in range(len(contenders))]
    calls = [Call(holder, hold, (folder, names))]
    calls += [Call(node, try_it, (folder, name)) for node, name in zip(contenders, names, strict=True)]
    held, *tried = fleet.ask(calls, SECONDS)
    if held.problem is not None:
        return [Finding(CHECK, "failed", held.problem, FIX, holder)]
    refused = {node: reply.problem or reply.value for node, reply in zip(contenders, tried, strict=True)}
    return [judge(holder, node, outcome) for node, outcome in refused.items()]


def hold(folder: str, names: Sequence[str]) -> None:
    """Hold it until all have tried; files say who is how far."""
    with locked(Path(folder) / "lock", blocking=False):
        (Path(folder) / "held").touch()
        for name in names:
            _wait_for(Path(folder) / name)


def try_it(folder: str, name: str) -> str:
    """`refused` as it should be, `given`, or `unseen` where the holder's file does not show."""
    if not _wait_for(Path(folder) / "held"):
        return "unseen"
    try:
        with locked(Path(folder) / "lock", blocking=False):
            return "given"
    except BlockingIOError:
        return "refused"
    finally:
        (Path(folder) / name).touch()


def _wait_for(file: Path) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def judge(holder: str, node: str, outcome: str) -> Finding:
    """outcome: of `try_it`, or why there is none."""
    if outcome == "refused":
        return Finding(CHECK, "ok", f"what {holder} holds is refused", node=node)
    if outcome == "given" and node != holder:
        return Finding(CHECK, "warning", f"given while {holder} holds it: locks end at a node", ALONE, node)
    if outcome == "unseen":
        return Finding(CHECK, "skipped", f"the file that {holder} locks is not seen", node=node)
    return Finding(CHECK, "failed", "given to two at once" if outcome == "given" else outcome, FIX, node)
