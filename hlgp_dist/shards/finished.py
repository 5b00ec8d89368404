"""What is known of a shard once it is written: kept beside it until all are, so that a killed run can go on."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.manifest import COLUMNS, SAMPLE_COLUMNS
from hlgp_dist.data.record import KEY_LENGTH
from hlgp_dist.files import write_atomically

_TYPES = {**COLUMNS, "key": f"S{KEY_LENGTH}"}
SAMPLE = np.dtype([*((name, _TYPES[name]) for name in SAMPLE_COLUMNS), ("source", np.uint8, 32)])
"""A sample's columns of the manifest, and the SHA-256 of its picture's bytes in the source."""


@dataclass(frozen=True, eq=False)
class Finished:
    """plan: of `layout.PlannedShard.digest`; bytes, sha256: of the tar; samples: SAMPLE [N]."""

    plan: str
    bytes: int
    sha256: str
    samples: NDArray[np.void]


def save_finished(file: Path, finished: Finished) -> None:
    """Whole or not at all."""
    content = BytesIO()
    np.savez(content, head=[finished.plan, str(finished.bytes), finished.sha256], samples=finished.samples)
    write_atomically(file, content.getvalue())


def load_finished(file: Path) -> Finished | None:
    """None where there is none, or none of this version's."""
    try:
        with np.load(file) as record:
            plan, length, sha256 = (str(part) for part in record["head"])
            samples = record["samples"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Finished(plan, int(length), sha256, samples) if samples.dtype == SAMPLE else None
