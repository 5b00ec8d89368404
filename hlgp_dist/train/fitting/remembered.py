"""What a host's devices were found to hold, in the user's cache folder: one small file for each kind of run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hlgp_dist.files import user_cache, write_json
from hlgp_dist.train.batch_sizes import BatchSizes

About = Mapping[str, Any]
"""All that decides what a device holds."""


def recall(about: About, room: int) -> BatchSizes | None:
    """What was found before, None where nothing was, or it takes more bytes than there is room for now."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # damaged: as if it were not there
        found = BatchSizes(**json.loads(_file(about).read_text())["sizes"])
        return found if found.peak_bytes <= room else None
    return None


def remember(about: About, sizes: BatchSizes) -> None:
    """In the place of what was."""
    with suppress(OSError):  # a cache that cannot be written costs time only
        write_json(_file(about), {"about": dict(about), "sizes": asdict(sizes)})


def _file(about: About) -> Path:
    told = json.dumps(about, sort_keys=True)
    return user_cache() / "batch_sizes" / f"{hashlib.sha256(told.encode()).hexdigest()}.json"
