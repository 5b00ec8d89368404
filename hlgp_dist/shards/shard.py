"""Pictures into WebDataset tars with a manifest: all of it or nothing, the same bytes for any number of workers."""

from __future__ import annotations

import errno
import heapq
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.config.places import destination_problem, shown
from hlgp_dist.data.manifest import UNTOUCHED, Encoding, Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.origin import Origin
from hlgp_dist.data.record import BLOCK
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure
from hlgp_dist.shards.assemble import assembled, recorded_hash, source_hash
from hlgp_dist.shards.finished import load_finished
from hlgp_dist.shards.layout import COMPANION_BLOCKS, PlannedShard, plan_shards
from hlgp_dist.shards.listing import Listing
from hlgp_dist.shards.manifest_files import write_manifest
from hlgp_dist.shards.partial import Partial, claimed, partial_root, remove_leftover
from hlgp_dist.shards.processes import Jobs, Progress, crew
from hlgp_dist.shards.walk import list_pictures
from hlgp_dist.shards.writer import ShardTask, make_shard, named_digests, plan_of, record_file

SHARD_BYTES = 256 * 2**20
_LISTED = 20
_FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    pictures: Listing
    shard_bytes: int
    encoding: Encoding
    origin: Origin | None
    workers: int | None
    progress: Progress | None


def shard(
    source: str | Path,
    destination: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    encoding: Encoding = UNTOUCHED,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Shard the pictures of `source` into the folder `destination`.

    The folder appears whole under its name, by one rename; an interrupted call leaves the shards it finished, and the
    same call goes on from there. Where the folder exists already and was made from the same pictures in the same way,
    nothing is written.

    Args:
        source: a folder, a .tar, a .csv or a .jsonl (see `walk`).
        destination: the shard folder.
        shard_bytes: upper bound of a shard's length, but for a sample that is larger alone; the pictures' bytes count
            as they are in the source.
        encoding: untouched, or of `encode.encoding_of`.
        workers: processes, `None` for what the cores and the pictures are good for; the result does not depend on it.
        progress: called with (pictures through, pictures in all) in the calling thread.

    Raises:
        ConfigError: `destination` is a URL or holds anything else, or another process is writing it.
        DataError: `source` cannot be read, or holds undecodable pictures; the message lists them.
        EnvironmentFailure: the disk is too small.
    """
    check_destination(destination, shard_bytes)
    with closing(list_pictures(source)) as pictures:
        return shard_pictures(
            pictures, destination, shard_bytes=shard_bytes, encoding=encoding, workers=workers, progress=progress
        )


def check_destination(destination: str | Path, shard_bytes: int) -> None:
    """What can be refused before the pictures are known."""
    if (problem := destination_problem(str(destination))) is not None:
        raise ConfigError(f"{shown(str(destination))!r}: {problem}")
    if shard_bytes < 1:
        raise ConfigError(f"shard_bytes={shard_bytes}: must be positive")
    destination = Path(destination).resolve()
    if destination.is_mount():
        raise ConfigError(f"{destination}: is a mount point, which cannot be renamed to; give a folder inside it")
    if _is_taken(destination):
        _earlier(destination)


def shard_pictures(
    pictures: Listing,
    destination: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    encoding: Encoding = UNTOUCHED,
    workers: int | None = None,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Manifest:
    """As `shard`, of listed pictures; `origin` goes into the manifest."""
    destination = Path(destination).resolve()
    job = _Job(pictures, shard_bytes, encoding, origin, workers, progress)
    if not _is_taken(destination):
        with _full_disk_named(destination), claimed(destination) as partial:
            if not _is_taken(destination):  # by another process since we looked
                return _build(job, partial, destination)
    remove_leftover(destination)
    return _made_before(job, destination)


def _is_taken(destination: Path) -> bool:
    if destination.exists() and not destination.is_dir():
        raise ConfigError(f"{destination}: is a file, so no shard folder can be made there")
    return destination.is_dir() and any(destination.iterdir())


def _earlier(destination: Path) -> Manifest:
    try:
        return read_manifest(destination)
    except DataError as error:
        raise ConfigError(f"{destination}: not empty, and no whole shard folder ({error})") from error


def _made_before(job: _Job, destination: Path) -> Manifest:
    """The earlier result, after reading the source again: names and dates do not prove that bytes are equal."""
    manifest = _earlier(destination)
    if manifest.origin != job.origin:
        raise ConfigError(f"{destination}: was prepared from {manifest.origin}, not from {job.origin}; remove it first")
    if (manifest.shard_bytes, manifest.encoding) != (job.shard_bytes, job.encoding):
        raise ConfigError(f"{destination}: holds shards of another shard_bytes, resize or quality; remove it first")
    names: list[str] = []
    jobs = Jobs(named_digests, workers=_workers(job), total=len(job.pictures), progress=job.progress)
    digests = dict(jobs.results(_planned(job, names)))
    if manifest.source_hash != source_hash(job.pictures, (digests[name] for name in names)):
        raise ConfigError(f"{destination}: holds shards of other pictures; remove it first")
    logger.info("%s: made from the same pictures before, nothing to do", destination)
    return manifest


def _workers(job: _Job) -> int:
    return crew(job.workers, pictures=len(job.pictures))


def _planned(job: _Job, names: list[str]) -> Iterator[PlannedShard]:
    """The shards in their order; the names of those drawn are put into `names`."""
    for planned in plan_shards(job.pictures, job.pictures.classes, shard_bytes=job.shard_bytes):
        names.append(planned.name)
        yield planned


def _build(job: _Job, partial: Partial, destination: Path) -> Manifest:
    """Fill `partial`, whose lock we hold, and give it its name."""
    partial.keep(_finished(job, partial))
    if job.encoding == UNTOUCHED:
        _check_space(job.pictures, partial, destination)
    names: list[str] = []
    tasks = (ShardTask(planned, job.encoding, partial.tars, partial.records) for planned in _planned(job, names))
    jobs = Jobs(make_shard, workers=_workers(job), total=len(job.pictures), progress=job.progress)
    _refuse_bad(jobs.results(tasks), len(job.pictures))
    manifest = write_manifest(
        partial.tars,
        job.pictures.classes,
        assembled(partial, names, len(job.pictures.classes)),
        source_hash=recorded_hash(partial, names, job.pictures),
        shard_bytes=job.shard_bytes,
        encoding=job.encoding,
        origin=job.origin,
    )
    partial.publish(destination)
    return manifest


def _finished(job: _Job, partial: Partial) -> set[str]:
    """The shards of this plan that an interrupted call recorded."""
    kept = set[str]()
    if any(partial.records.iterdir()):
        for planned in _planned(job, []):
            finished = load_finished(record_file(partial.records, planned.name))
            if finished is not None and finished.plan == plan_of(planned, job.encoding):
                kept.add(planned.name)
    return kept


@contextmanager
def _full_disk_named(destination: Path) -> Iterator[None]:
    """A full disk, or quota, as a failure that says what is left there, and what for."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        partial = partial_root(destination)
        left = "nothing of it is left"
        if partial.exists():
            left = f"the same command goes on from {partial}; without it, remove that folder, which is what takes room"
        raise EnvironmentFailure(f"{destination}: {error.strerror}; {left}") from error


def _check_space(pictures: Listing, partial: Partial, destination: Path) -> None:
    needed = pictures.total(BLOCK) + len(pictures) * COMPANION_BLOCKS * BLOCK
    free = shutil.disk_usage(partial.root).free + partial.held()
    if free < needed:
        raise EnvironmentFailure(f"{destination}: {needed} bytes of shards do not fit into {free} free bytes")


def _refuse_bad(found: Iterable[list[str]], total: int) -> None:
    """Wait for all shards; a DataError lists the bad pictures of all of them together."""
    count, first = 0, list[str]()
    for bad in found:
        count += len(bad)
        first = heapq.nsmallest(_LISTED, [*first, *bad])
    if count:
        more = f"\n  and {count - _LISTED} more" if count > _LISTED else ""
        are = "is" if count == 1 else "are"
        raise DataError(f"{count} of {total} pictures {are} unusable:\n  " + "\n  ".join(first) + more)
