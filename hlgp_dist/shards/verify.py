"""Is a shard folder whole: every byte of it is read once and compared with what the manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from numpy.typing import NDArray

from hlgp_dist.data.manifest import DIGEST, SAMPLE_COLUMNS, SIZES, UNTOUCHED, Manifest, Shard, Split, span
from hlgp_dist.data.manifest_reading import length_problems, unchecked_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.place import Folder, Place, streamed
from hlgp_dist.data.record import checksum, sample_of
from hlgp_dist.errors import DataError, counted
from hlgp_dist.shards.encode import encode
from hlgp_dist.shards.manifest_files import digest_line, sizes
from hlgp_dist.shards.processes import Advance, Jobs, Progress, crew

Decode = Literal["sample", "all"]
DECODED_EVERY = {"sample": 16, "all": 1}
_LISTED = 5


_Row = dict[str, Any]
"""What the manifest says of a sample, by SAMPLE_COLUMNS."""


class _Task(NamedTuple):
    """columns: SAMPLE_COLUMNS of the shard's samples."""

    path: str
    shard: Shard
    columns: list[NDArray[Any]]
    decoded_every: int


def verify(
    path: str | Path, *, decode: Decode = "sample", workers: int | None = None, progress: Progress | None = None
) -> list[str]:
    """What is wrong with the shard folder: nothing, or one message each.

    Checksums of the manifest, of every shard and of every record, out of one reading; each sample's key and label;
    every sixteenth picture of a shard is decoded, or all. `progress` is called with (pictures read, pictures in all).
    """
    try:
        with closing(open_place(path)) as place:
            manifest = unchecked_manifest(place)
            problems = [*length_problems(path, manifest), *_file_problems(place, manifest)]
    except DataError as error:
        return [str(error)]
    total = sum(len(split) for split in manifest.splits.values())
    jobs = Jobs(_shard_problems, workers=crew(workers, pictures=total), total=total, progress=progress)
    found = list(jobs.results(_tasks(path, manifest, DECODED_EVERY[decode])))
    return problems + [problem for some in sorted(found) for problem in some]


def _file_problems(place: Place, manifest: Manifest) -> Iterator[str]:
    """What stands beside the shards and differs, by any byte, from what the manifest comes with.

    Tars that the manifest does not know are found in a local folder alone: not every server lists its files.
    """
    names = {shard.name for split in manifest.splits.values() for shard in split.shards}
    for file in sorted(place.folder.glob("*.tar")) if isinstance(place, Folder) else ():
        if file.name not in names:
            yield f"{file}: not in the manifest"
    for name, content in ((DIGEST, digest_line(manifest.digest)), (SIZES, sizes(manifest.splits))):
        try:
            if place.read(name) != content:
                yield f"{place.url}/{name}: does not match the manifest"
        except DataError as error:
            yield str(error)


def _tasks(path: str | Path, manifest: Manifest, decoded_every: int) -> Iterator[_Task]:
    """One of each shard whose length is right; of others the length says enough."""
    with closing(open_place(path)) as place:
        for split in manifest.splits.values():
            for number, shard in enumerate(split.shards):
                facts = place.facts(shard.name)
                if facts is not None and facts.size == shard.bytes:
                    yield _Task(str(path), shard, _columns(split, number), decoded_every)


def _columns(split: Split, number: int) -> list[NDArray[Any]]:
    start, end = span(split.shard, number)
    return [split.column(name)[start:end] for name in SAMPLE_COLUMNS]


def _shard_problems(task: _Task, advance: Advance) -> list[str]:
    """Of one shard, in one reading; at most a few messages."""
    problems: list[str] = []
    whole = hashlib.sha256()
    with closing(open_place(task.path)) as place, streamed(place, task.shard.name) as stream:
        file = f"{place.url}/{task.shard.name}"
        for position, row in enumerate(_rows(task)):
            whole.update(stream.read(row["offset"] - stream.tell()))
            record = stream.read(row["size"])
            whole.update(record)
            if problem := _record_problem(row, record, with_picture=position % task.decoded_every == 0):
                problems.append(f"{file}: sample {row['key'].decode()}: {problem}")
            advance()
        if _rest(stream, whole) != task.shard.sha256:
            problems.insert(0, f"{file}: the checksum differs from the manifest's")
    more = len(problems) - _LISTED
    return problems[:_LISTED] + ([f"{file}: and {counted(more, 'sample')} more"] if more > 0 else [])


def _rows(task: _Task) -> Iterator[_Row]:
    for values in zip(*(column.tolist() for column in task.columns), strict=True):
        yield dict(zip(SAMPLE_COLUMNS, values, strict=True))


def _rest(stream: BinaryIO, whole: Any) -> str:
    """The checksum of all that was read, with what follows the last sample."""
    whole.update(stream.read())
    return str(whole.hexdigest())


def _record_problem(row: _Row, record: bytes, *, with_picture: bool) -> str | None:
    if checksum(record).encode() != row["checksum"]:
        return "its bytes differ from the manifest's checksum"
    try:
        sample, is_of = sample_of(record, row["key"].decode()), (row["width"], row["height"])
        if sample.label != row["class_index"]:
            return f"its label is {sample.label}, not {row['class_index']}"
        if with_picture and encode(sample.picture, UNTOUCHED)[:3] != (sample.suffix, *is_of):
            return f"its picture is no {sample.suffix} of {is_of[0]} x {is_of[1]} pixels"
    except (ValueError, DataError) as error:
        return f"not what the manifest says ({error})"
    return None
