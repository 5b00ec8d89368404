"""Pictures into WebDataset tars with a manifest: all of it or nothing, the same bytes for any number of workers."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hlgp_dist.data.layout import PlannedShard, plan_shards
from hlgp_dist.data.listing import SPLITS, Picture, list_pictures
from hlgp_dist.data.manifest import CHECKSUM_DIGITS, Manifest, Shard, Split, read_manifest, write_manifest
from hlgp_dist.data.origin import Origin
from hlgp_dist.data.writer import Written, read_picture, write_shard
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure
from hlgp_dist.files import locked, sync

SHARD_BYTES = 256 * 2**20
_LOCK = ".lock"
_LISTED = 20

Progress = Callable[[int, int], None]
logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    pictures: Sequence[Picture]
    shard_bytes: int
    origin: Origin | None


def shard(
    source: str | Path,
    destination: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Shard the pictures of `source` into the folder `destination`.

    The folder appears whole under its name, by one rename. Where it exists already and was made from the same
    pictures with the same `shard_bytes`, nothing is written.

    Args:
        source: a folder, a .tar, a .csv or a .jsonl (see `listing`).
        destination: the shard folder.
        shard_bytes: upper bound of a shard's length, but for a sample that is larger alone.
        workers: threads, `None` for one a core; the result does not depend on it.
        progress: called with (pictures written, pictures in all) in the calling thread.

    Raises:
        ConfigError: `destination` holds anything else, or another process is writing it.
        DataError: `source` cannot be read, or holds undecodable pictures; the message lists them.
        EnvironmentFailure: the disk is too small.
    """
    check_destination(destination, shard_bytes)
    pictures = list_pictures(source)
    return shard_pictures(pictures, destination, shard_bytes=shard_bytes, workers=workers, progress=progress)


def check_destination(destination: str | Path, shard_bytes: int) -> None:
    """What can be refused before the pictures are known."""
    if shard_bytes < 1:
        raise ConfigError(f"shard_bytes={shard_bytes}: must be positive")
    destination = Path(destination).resolve()
    if destination.is_mount():
        raise ConfigError(f"{destination}: is a mount point, which cannot be renamed to; give a folder inside it")
    if _is_taken(destination):
        _earlier(destination)


def shard_pictures(
    pictures: Sequence[Picture],
    destination: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    workers: int | None = None,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Manifest:
    """As `shard`, of pictures in the order of `listing.in_order`; `origin` goes into the manifest."""
    destination = Path(destination).resolve()
    job = _Job(pictures, shard_bytes, origin)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        if _is_taken(destination):
            return _made_before(job, destination, pool)
        partial = destination.with_name(f".{destination.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            with locked(partial / _LOCK, blocking=False):
                if _is_taken(destination):  # finished by another process since we looked
                    shutil.rmtree(partial)
                    return _made_before(job, destination, pool)
                return _build(job, partial, destination, pool, progress)
        except BlockingIOError:
            raise ConfigError(f"{destination}: another process is writing it") from None


def _is_taken(destination: Path) -> bool:
    if destination.exists() and not destination.is_dir():
        raise ConfigError(f"{destination}: is a file, so no shard folder can be made there")
    return destination.is_dir() and any(destination.iterdir())


def _made_before(job: _Job, destination: Path, pool: ThreadPoolExecutor) -> Manifest:
    """The earlier result, after reading the source again: names and dates do not prove that bytes are equal."""
    manifest = _earlier(destination)
    if manifest.origin != job.origin:
        raise ConfigError(f"{destination}: was prepared from {manifest.origin}, not from {job.origin}; remove it first")
    digests = pool.map(lambda picture: hashlib.sha256(read_picture(picture)).digest(), job.pictures)
    if manifest.shard_bytes != job.shard_bytes or manifest.source_hash != _source_hash(job.pictures, digests):
        raise ConfigError(f"{destination}: holds shards of other pictures or of another shard_bytes; remove it first")
    logger.info("%s: made from the same pictures before, nothing to do", destination)
    return manifest


def _earlier(destination: Path) -> Manifest:
    try:
        return read_manifest(destination)
    except DataError as error:
        raise ConfigError(f"{destination}: not empty, and no whole shard folder ({error})") from error


def _build(
    job: _Job, partial: Path, destination: Path, pool: ThreadPoolExecutor, progress: Progress | None
) -> Manifest:
    """Fill `partial`, whose lock we hold, and give it its name; what a killed predecessor left there goes first."""
    for stale in partial.iterdir():
        if stale.name != _LOCK:
            stale.unlink()
    try:
        manifest = _fill(job, partial, pool, progress)
        partial.rename(destination)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    (destination / _LOCK).unlink()
    sync(destination.parent)
    return manifest


def _fill(job: _Job, folder: Path, pool: ThreadPoolExecutor, progress: Progress | None) -> Manifest:
    classes = tuple(sorted({picture.class_name for picture in job.pictures}))
    planned: dict[str, list[PlannedShard]] = {}
    for split in SPLITS:
        own = [picture for picture in job.pictures if picture.split == split]
        planned[split] = plan_shards(own, classes, split=split, shard_bytes=job.shard_bytes)
    everything = [shard for shards in planned.values() for shard in shards]
    _check_space(folder, sum(shard.bytes for shard in everything))
    written = _write_all(everything, folder, pool, progress)
    splits = {split: _split(shards, written, len(classes)) for split, shards in planned.items()}
    ordered = (sample.picture for shard in everything for sample in shard.samples)
    digests = (digest for shard in everything for digest in written[shard.name].pictures)
    source_hash = _source_hash(ordered, digests)
    return write_manifest(
        folder, classes, splits, source_hash=source_hash, shard_bytes=job.shard_bytes, origin=job.origin
    )


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise EnvironmentFailure(f"{folder}: {needed} bytes of shards do not fit into {free} free bytes")


def _write_all(
    planned: Sequence[PlannedShard], folder: Path, pool: ThreadPoolExecutor, progress: Progress | None
) -> dict[str, Written]:
    """Every shard's result by name; a DataError lists the bad pictures of all shards together."""
    total, done, written = sum(len(shard.samples) for shard in planned), 0, {}
    futures = {pool.submit(write_shard, folder / shard.name, shard.samples): shard for shard in planned}
    for future in as_completed(futures):
        shard = futures[future]
        written[shard.name] = future.result()
        done += len(shard.samples)
        if progress is not None:
            progress(done, total)
    bad = sorted(problem for result in written.values() for problem in result.bad)
    if bad:
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise DataError(f"{len(bad)} of {total} pictures are unusable:\n  " + "\n  ".join(bad[:_LISTED]) + more)
    return written


def _source_hash(pictures: Iterable[Picture], digests: Iterable[bytes]) -> str:
    """Identifies names, classes, splits and bytes, whatever kind of source they came from."""
    whole = hashlib.sha256()
    for picture, digest in sorted(zip(pictures, digests, strict=True)):
        whole.update(b"\0".join(os.fsencode(part) for part in picture[:3]) + b"\0" + digest)
    return whole.hexdigest()


def _split(planned: Sequence[PlannedShard], written: dict[str, Written], num_classes: int) -> Split:
    samples = [sample for shard in planned for sample in shard.samples]
    lengths = np.array([len(shard.samples) for shard in planned], dtype=np.int64)
    class_index = np.array([sample.class_index for sample in samples], dtype=np.int32)
    results = [written[shard.name] for shard in planned]
    headers = [header for result in results for header in result.headers]
    checksums = [digits for result in results for digits in result.checksums]
    return Split(
        shards=tuple(Shard(s.name, s.bytes, written[s.name].sha256, len(s.samples)) for s in planned),
        key=np.array([sample.key for sample in samples], dtype=np.bytes_),
        class_index=class_index,
        shard=np.repeat(np.arange(len(planned), dtype=np.int32), lengths),
        offset=np.array([sample.offset for sample in samples], dtype=np.int64),
        size=np.array([sample.size for sample in samples], dtype=np.int64),
        width=np.array([header.width for header in headers], dtype=np.int32),
        height=np.array([header.height for header in headers], dtype=np.int32),
        checksum=np.array(checksums, dtype=f"S{CHECKSUM_DIGITS}"),
        counts=np.bincount(class_index, minlength=num_classes),
    )
