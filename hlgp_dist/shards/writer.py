"""Writes one shard in a process of its own: reads its pictures, proves that they decode, packs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from hlgp_dist.data.manifest import Encoding
from hlgp_dist.data.record import TRAILER, checksum, pack
from hlgp_dist.errors import DataError
from hlgp_dist.files import replacing
from hlgp_dist.shards.encode import encode
from hlgp_dist.shards.finished import SAMPLE, Finished, load_finished, save_finished
from hlgp_dist.shards.layout import PlannedSample, PlannedShard, companions
from hlgp_dist.shards.partial import RECORD
from hlgp_dist.shards.processes import Advance

_VERSION = 1
"""Raise it when the bytes of a shard change, so that none of an older version is kept."""


class ShardTask(NamedTuple):
    """A shard to be written to `tars`, and what is known of it then to `records`."""

    planned: PlannedShard
    encoding: Encoding
    tars: Path
    records: Path

    @property
    def tar(self) -> Path:
        return self.tars / self.planned.name

    @property
    def record(self) -> Path:
        return record_file(self.records, self.planned.name)


def record_file(records: Path, name: str) -> Path:
    """Where a shard's `Finished` is."""
    return records / f"{name}{RECORD}"


def make_shard(task: ShardTask, advance: Advance) -> list[str]:
    """What is wrong with the shard's pictures; with none of them, the shard is there, written now or earlier."""
    plan = plan_of(task.planned, task.encoding)
    if _is_kept(task, plan):
        advance(len(task.planned.samples))
        return []
    task.record.unlink(missing_ok=True)
    task.tar.unlink(missing_ok=True)
    bad: list[str] = []
    samples = np.zeros(len(task.planned.samples), SAMPLE)
    whole = hashlib.sha256()
    with replacing(task.tar) as stream:
        for chunk in _records(task, samples, bad, advance):
            whole.update(chunk)
            stream.write(chunk)
        length = stream.tell()
    if not bad:
        save_finished(task.record, Finished(plan, length, whole.hexdigest(), samples))
    return bad


def plan_of(planned: PlannedShard, encoding: Encoding) -> str:
    """What the tar's bytes follow from, but for the pictures' own."""
    return planned.digest((_VERSION, encoding, PIL.__version__ if encoding.resize else ""))


def _is_kept(task: ShardTask, plan: str) -> bool:
    """Whether an interrupted run wrote it by the same plan, and neither its tar nor its pictures have changed since."""
    finished = load_finished(task.record)
    if finished is None or finished.plan != plan or not task.tar.is_file():
        return False
    try:
        with task.tar.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != finished.sha256:
                return False
        return source_digests(task.planned) == finished.samples["source"].tobytes()
    except (OSError, DataError):
        return False  # and writing it anew names the picture


def source_digests(planned: PlannedShard) -> bytes:
    """The SHA-256 of the pictures' bytes in the source, 32 bytes each."""
    return b"".join(hashlib.sha256(sample.picture.extent.read()).digest() for sample in planned.samples)


def named_digests(planned: PlannedShard, advance: Advance) -> tuple[str, bytes]:
    """The shard's name and its `source_digests`."""
    digests = source_digests(planned)
    advance(len(planned.samples))
    return planned.name, digests


def _records(task: ShardTask, samples: NDArray[np.void], bad: list[str], advance: Advance) -> Iterator[bytes]:
    """A shard's bytes, record by record; goes on after a bad picture so that all of them are found."""
    offset = 0
    for row, sample in enumerate(task.planned.samples):
        try:
            record, samples[row] = _record(sample, offset, task.encoding)
        except (OSError, DataError) as error:
            bad.append(f"{sample.picture.names}: {error}")
        else:
            yield record
            offset += len(record)
        advance()
    yield TRAILER


def _record(sample: PlannedSample, offset: int, encoding: Encoding) -> tuple[bytes, tuple[object, ...]]:
    """A sample's tar record, and its row of SAMPLE."""
    data = sample.picture.extent.read()
    stored = encode(data, encoding)
    key = sample.picture.names.key
    members = ((stored.suffix, stored.data), *companions(sample.picture, sample.class_index))
    record = pack((f"{key}.{kind}", content) for kind, content in members)
    source = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    about = (sample.class_index, offset, len(record), stored.width, stored.height)
    return record, (key.encode(), *about, checksum(record).encode(), source)
