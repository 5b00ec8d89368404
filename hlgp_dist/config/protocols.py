"""The field's named protocols: how the classes of a public benchmark become tasks.

`BENCHMARK-Bn-Inck`: n classes first (B0: as many as in every other task), then k a task, in the order of numpy's seed
1993 (PyCIL, PILOT, RevisitingCIL), but for VTAB, whose order is never shuffled. With `-codaS` behind it: in the order
of Python's shuffle under seed S, as CODA-Prompt has it, where seed 0 shuffles nothing.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

CLASSES = {
    "cifar100": 100,
    "imagenet_r": 200,
    "imagenet_a": 200,
    "vtab": 50,
    "vtab_rebuild": 50,
    "cub200": 200,
    "domainnet": 345,
}
NOT_SHUFFLED = ("vtab", "vtab_rebuild")
NAME = re.compile(r"([a-z0-9_]+)-B(\d+)-Inc(\d+)(?:-coda(\d+))?")
PUBLISHED_SEED = 1993


def benchmark_of(protocol: str) -> str:
    """What `hlgp data prepare` calls the benchmark."""
    return protocol.partition("-")[0]


def settings_of(protocol: str) -> dict[str, Any]:
    """The values of the `benchmark` section that a protocol stands for.

    Raises:
        ValueError: there is none of that name.
    """
    parts = NAME.fullmatch(protocol)
    if parts is None:
        raise ValueError(f"protocol {protocol!r} is not of the form BENCHMARK-Bn-Inck, e.g. imagenet_r-B0-Inc20")
    name, base, increment, coda = parts.groups()
    if name not in CLASSES:
        near = difflib.get_close_matches(name, CLASSES, n=1, cutoff=0.0)[0]
        raise ValueError(f"protocol {protocol!r}: no benchmark {name}; did you mean {near}?")
    init_cls = int(base) or int(increment)
    if int(increment) == 0 or init_cls > CLASSES[name]:
        raise ValueError(f"protocol {protocol!r}: {name} has {CLASSES[name]} classes to be divided")
    if coda is not None and name in NOT_SHUFFLED:
        raise ValueError(f"protocol {protocol!r}: the classes of {name} are never shuffled")
    seed = None if name in NOT_SHUFFLED else PUBLISHED_SEED if coda is None else int(coda)
    return {
        "init_cls": init_cls,
        "increment": int(increment),
        "class_order_seed": seed,
        "class_order_shuffle": "numpy" if coda is None else "python",
        "class_order": None,
        "max_tasks": None,
    }
