"""The source stage of a webdataset pipeline: reads the byte ranges of chosen samples alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray

from hlgp_dist.data.manifest import Manifest, Split
from hlgp_dist.data.place import Place
from hlgp_dist.data.record import checksum, sample_of
from hlgp_dist.errors import DataError

webdataset.utils.enforce_security = True  # neither pickles nor `pipe:`, whatever a later stage asks for


class BadSample(DataError):
    """One sample that cannot be used: `index` into the split, `key`, `shard` and `class_name`, `reason`."""

    def __init__(self, index: int, key: str, shard: str, class_name: str, reason: str) -> None:
        super().__init__(index, key, shard, class_name, reason)
        self.index, self.key, self.shard, self.class_name, self.reason = index, key, shard, class_name, reason

    def __str__(self) -> str:
        return f"{self.shard}: sample {self.key} of class {self.class_name}: {self.reason}"


class RangeSource:
    """A webdataset source stage: the samples `indices` of a split, in that order, and no other byte.

    Neighbours in a shard are read together. `bytes_read` counts what has been read so far.
    """

    def __init__(self, place: Place, manifest: Manifest, split_name: str, indices: NDArray[np.int64]) -> None:
        self.place = place
        self.split = manifest.splits[split_name]
        self._bad = partial(bad_sample, manifest, split_name)
        self.indices = indices
        self.bytes_read = 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        """Samples as webdataset has them: `__key__`, `__url__` and each member's bytes by suffix.

        Raises:
            BadSample: a record is not the manifest's, or is of no single picture; those before it have been yielded.
            DataError: a shard is missing, too short or cannot be read.
        """
        for run in merged_runs(self.split, self.indices):
            first = self.split.offset[run[0]]
            content = self._read(run)
            for index in run:
                start = int(self.split.offset[index] - first)
                record = content[start : start + int(self.split.size[index])]
                yield self._sample(index, self._checked(index, record))

    def _read(self, run: NDArray[np.int64]) -> bytes:
        """The records of neighbours, or of one sample."""
        shard = self.split.shards[self.split.shard[run[0]]]
        length = int(self.split.size[run].sum())
        content = self.place.read(shard.name, int(self.split.offset[run[0]]), length)
        self.bytes_read += length
        return content

    def _checked(self, index: np.int64, record: bytes) -> bytes:
        """The record, read again a few times where its bytes are not the manifest's."""
        expected = self.split.checksum[index].decode()
        for _ in range(self.place.rereads):
            if checksum(record) == expected:
                return record
            record = self._read(np.array([index]))
        found = checksum(record)
        if found != expected:
            reason = f"its bytes have the checksum {found}, the manifest says {expected}"
            raise self._bad(int(index), reason)
        return record

    def _sample(self, index: np.int64, record: bytes) -> dict[str, Any]:
        key, url = self.split.key[index].decode(), self.split.shards[self.split.shard[index]].name
        try:
            sample = sample_of(record, key)
            if sample.label != self.split.class_index[index]:
                raise ValueError(f"its label is {sample.label}")
        except ValueError as error:
            raise self._bad(int(index), f"not the sample of the manifest: {error}") from error
        return {"__key__": key, "__url__": url, **sample.members}


def bad_sample(manifest: Manifest, split_name: str, index: int, reason: str) -> BadSample:
    """Names the sample `index` of the split."""
    split = manifest.splits[split_name]
    shard, class_name = split.shards[split.shard[index]].name, manifest.classes[split.class_index[index]]
    return BadSample(index, split.key[index].decode(), shard, class_name, reason)


def merged_runs(split: Split, indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """`indices` cut wherever the next sample does not begin where the last one ended."""
    shard, start = split.shard[indices], split.offset[indices]
    end = start + split.size[indices]
    gaps = (shard[1:] != shard[:-1]) | (start[1:] != end[:-1])
    return np.split(indices, np.flatnonzero(gaps) + 1)
