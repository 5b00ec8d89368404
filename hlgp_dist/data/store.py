"""A task's pictures, decoded once a host into an indexable uint8 file that every rank and trial maps."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from hlgp_dist.data.manifest import Manifest, Split
from hlgp_dist.data.place import Place, open_place
from hlgp_dist.data.selection import Selection
from hlgp_dist.data.source import RangeSource, picture_pipeline
from hlgp_dist.errors import DataError, EnvironmentFailure
from hlgp_dist.files import locked, sync, write_atomically
from hlgp_dist.types import PictureSize

BLOCK_BYTES = 2**20
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Store:
    """N pictures and labels; `i` is the sample id of every plan.

    images: uint8 [N, 3, S, S], mapped read-only; labels: int64 [N], in stream order; bytes_read, decoded, seconds:
    what building it took, whoever did; built: whether this call did.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    bytes_read: int
    decoded: int
    seconds: float
    built: bool

    def __len__(self) -> int:
        return len(self.labels)


def open_store(
    folder: str | Path,
    manifest: Manifest,
    selection: Selection,
    size: PictureSize,
    *,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
) -> Store:
    """The store of a selection; of all processes of a host the first builds it and the others wait for it.

    Args:
        folder: the shard folder, a path or URL, that `manifest` describes.
        manifest: see `read_manifest`.
        selection: see `select`.
        size: the pictures' size.
        cache_dir: a local folder for stores, `None` for the user's cache folder.
        workers: decoding threads, `None` for one a core; the result does not depend on it.

    Raises:
        DataError: a sample is corrupt (the message names shard and key), or the store file is.
        EnvironmentFailure: the disk is too small.
    """
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"{store_name(manifest, selection, size)}.npy"
    built = False
    if not file.exists():
        with locked(file.with_suffix(".lock")):
            if not file.exists():
                _build(file, open_place(folder), manifest.splits[selection.split], selection, size, workers)
                built = True
    return _mapped(file, selection, built)


def default_cache_dir() -> Path:
    """`hlgp_dist/stores` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hlgp_dist" / "stores"


def store_name(manifest: Manifest, selection: Selection, size: PictureSize) -> str:
    """Identifies a store's pixels: content, samples, size and decoder, but not labels, so class orders share it."""
    identity = [_VERSION, PIL.__version__, manifest.digest, selection.split, asdict(size)]
    whole = hashlib.sha256(json.dumps(identity).encode())
    whole.update(selection.indices.astype("<i8").tobytes())
    return whole.hexdigest()[:32]


def _mapped(file: Path, selection: Selection, built: bool) -> Store:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
        record = json.loads(file.with_suffix(".json").read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: a damaged store ({error}); delete it and it is built again") from error
    assert len(images) == len(selection)
    return Store(images, selection.labels, record["bytes_read"], record["decoded"], record["seconds"], built)


def _build(
    file: Path, place: Place, split: Split, selection: Selection, size: PictureSize, workers: int | None
) -> None:
    """Under the store's lock: decode beside, record what it took, rename. A killed predecessor's rest is replaced."""
    began, aside = time.monotonic(), file.with_suffix(".partial")
    with _allocated(aside, (len(selection), 3, size.size, size.size)) as images:
        bytes_read = _fill(images, place, split, selection.indices, size, workers)
        images.flush()
        seconds = round(time.monotonic() - began, 3)
        record = {"bytes_read": bytes_read, "decoded": len(selection), "seconds": seconds}
        write_atomically(file.with_suffix(".json"), json.dumps(record).encode())
        aside.replace(file)
    sync(file.parent)


@contextmanager
def _allocated(path: Path, shape: tuple[int, ...]) -> Iterator[np.memmap]:
    """A new mapped uint8 array whose blocks exist: on a full disk a sparse one would die of SIGBUS while written."""
    try:
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        yield images
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentFailure(f"data.cache_dir={path.parent}: no room for {np.prod(shape)} bytes") from error
        raise
    finally:
        path.unlink(missing_ok=True)


def _fill(
    images: np.memmap,
    place: Place,
    split: Split,
    indices: NDArray[np.int64],
    size: PictureSize,
    workers: int | None,
) -> int:
    """Run one pipeline a block on a pool of threads (decoding releases the GIL) and return the bytes read."""

    def fill_block(positions: NDArray[np.int64]) -> int:
        source = RangeSource(place, split, indices[positions])
        for position, picture in zip(positions, picture_pipeline(source, size), strict=True):
            images[position] = picture
        return source.bytes_read

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return sum(pool.map(fill_block, _blocks(split.size[indices])))


def _blocks(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions 0 .. N - 1 in runs of about `BLOCK_BYTES`, and at least one sample."""
    block = (np.cumsum(sizes) - sizes) // BLOCK_BYTES
    return np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(block)) + 1)
