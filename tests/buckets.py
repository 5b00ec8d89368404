"""Runs whose results lie on an object store, looked at from here."""

from __future__ import annotations

from pathlib import Path

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.train.folder import RunFolder


def fetched(bucket: Bucket, name: str, path: Path) -> RunFolder:
    """A copy of a run or a search that stays."""
    for each in bucket.listed(name):
        (path / each).parent.mkdir(parents=True, exist_ok=True)
        (path / each).write_bytes(bucket.read(each))
    return RunFolder(path / name)
