"""In which order results are sent to a store, and what of them is removed there, too."""

from __future__ import annotations

from hlgp_dist.launch.channel import STACKS
from hlgp_dist.launch.stop import STOP_FILE
from hlgp_dist.train.checkpoint import RECORD, TENSORS

PASSING = (STACKS, STOP_FILE)
"""How files end that are removed once they have been heeded."""


def order(name: str) -> int:
    """A checkpoint never gets ahead of the record it is part of, nor the result of what it came from."""
    return 2 if name.endswith("result.json") else 1 if "/checkpoints/" in f"/{name}" else 0


def gone_with(name: str) -> tuple[str, ...]:
    """What the code removes itself, a checkpoint's tensors with its record, for they may not be here; all else that is
    gone was removed by somebody who did not mean the store."""
    folder, _, file = name.rpartition("/")
    if order(name) > 0 and file == RECORD:
        return name, f"{folder}/{TENSORS}"
    return (name,) if order(name) > 0 or "/tensorboard/" in f"/{name}" or name.endswith(PASSING) else ()
