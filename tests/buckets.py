"""Runs whose results lie on an object store, looked at from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.train.folder import RunFolder

MEASURED = {"images_per_second", "training_seconds", "peak_memory_bytes", "decoded_images", "attempts"}


def fetched(bucket: Bucket, name: str, path: Path) -> RunFolder:
    """A copy of a run or a search that stays."""
    for each in bucket.listed(name):
        (path / each).parent.mkdir(parents=True, exist_ok=True)
        (path / each).write_bytes(bucket.read(each))
    return RunFolder(path / name)


def result_of(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_result()
    assert result is not None
    return {key: value for key, value in result.items() if key not in MEASURED}
