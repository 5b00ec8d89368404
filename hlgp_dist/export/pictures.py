"""Pictures to predict on, from files or shards, as evaluation sees them; what is bad is told and left out.

B pictures, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from torch import Tensor

from hlgp_dist.cores import usable_cores
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import fetch_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.picture import as_evaluated, stored_of
from hlgp_dist.data.selection import Part, select
from hlgp_dist.errors import DataError
from hlgp_dist.types import PictureSize, TaskSpec

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of what is taken from a folder; a file that is named may have any."""

Pixels = NDArray[np.uint8]
Bad = Callable[[str, str], None]
"""Is told the name of a picture that is left out, and why."""


class Named(NamedTuple):
    """names [B]; images: uint8 [B, 3, S, S]; classes [B]: the true ones, None where nobody says them."""

    names: list[str]
    images: Tensor
    classes: list[str] | None


class Source(NamedTuple):
    """batches: of at most as many pictures as asked for; total: pictures, the bad ones among them."""

    batches: Iterator[Named]
    total: int


def of_files(paths: Sequence[Path], size: PictureSize, batch_size: int, tell: Bad) -> Source:
    """Files, and what lies below folders, by name.

    Raises:
        DataError: a path leads nowhere, or a folder holds no picture.
    """
    files = [file for path in paths for file in _below(path)]
    return Source(_decoded(files, size, batch_size, tell), len(files))


def _below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise DataError(f"{path}: holds no file that ends with {', '.join(SUFFIXES)}")
    return found


def _decoded(files: Sequence[Path], size: PictureSize, batch_size: int, tell: Bad) -> Iterator[Named]:
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
        for start in range(0, len(files), batch_size):
            some, good = files[start : start + batch_size], []
            for file, pixels in zip(some, pool.map(partial(_pixels, size=size), some), strict=True):
                if isinstance(pixels, str):
                    tell(str(file), pixels)
                else:
                    good.append((str(file), pixels))
            if good:
                names, arrays = zip(*good, strict=True)
                yield Named(list(names), _images(arrays), None)


def _pixels(file: Path, size: PictureSize) -> Pixels | str:
    """[S, S, 3], or why there is none. Decoders fail in many ways, and one bad file must not end a million others."""
    try:
        return as_evaluated(stored_of(file.read_bytes(), size, "scaled", is_exact=True), size, "scaled")
    except UnidentifiedImageError:
        return "neither JPEG nor PNG, or its head is damaged"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def of_shards(
    place: str, part: Part, tasks: Sequence[TaskSpec], size: PictureSize, batch_size: int, tell: Bad
) -> Source:
    """A split of a shard folder: the model's classes task by task, in the batches that evaluation makes of them, then
    those that it does not know.

    Raises:
        ConfigError: the URL cannot be one.
        DataError: the folder, its split or a shard is missing or damaged.
    """
    cache = Cache(None, None)
    manifest = fetch_manifest(place, cache=cache)
    selections = [select(manifest, task, part, 0.0) for task in _tasks(manifest, part, tasks)]
    library = Library(open_place(place), manifest, size, cache, keeps_bad=True)

    def batches() -> Iterator[Named]:
        try:
            for selection in selections:
                opened = library.inspect(selection, "scaled")
                for bad in opened.bad.values():
                    tell(f"{bad.shard}: sample {bad.key}", bad.reason)
                pictures, indices = opened.pictures.without(opened.bad), np.delete(selection.indices, list(opened.bad))
                split = manifest.splits[selection.split]
                for ids in np.split(np.arange(len(pictures)), range(batch_size, len(pictures), batch_size)):
                    where = indices[ids]
                    arrays = [as_evaluated(pictures[sample], size, "scaled") for sample in ids]
                    names = [key.decode() for key in split.key[where].tolist()]
                    yield Named(names, _images(arrays), [manifest.classes[i] for i in split.class_index[where]])
        finally:
            library.close()

    return Source(batches(), sum(map(len, selections)))


def _tasks(manifest: Manifest, part: Part, tasks: Sequence[TaskSpec]) -> list[TaskSpec]:
    """Classes that have pictures there, those of a task together."""
    counts = manifest.splits[part].counts
    there = {name for name, count in zip(manifest.classes, counts.tolist(), strict=True) if count}
    known = [tuple(name for name in task.classes if name in there) for task in tasks]
    strange = tuple(sorted(there.difference(*known)))
    found = [TaskSpec(index, 0, names) for index, names in enumerate([*known, strange]) if names]
    if not found:
        raise DataError(f"--split={part}: the shard folder holds no picture of it")
    return found


def _images(arrays: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
