"""CIFAR-100 as its author distributes it: pickled batches, or the binary version. Pictures become PNGs, losslessly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.members import find, has, text
from hlgp_dist.benchmarks.pickled import byte_rows, unpickle
from hlgp_dist.benchmarks.spool import Spool
from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Picture

EDGE = 32
_PIXELS = 3 * EDGE * EDGE


def read(members: Members, spool: Spool) -> list[Picture]:
    """A picture is named by its row, which both versions share; names of the source photographs may repeat."""
    is_binary = has(members, "train.bin")
    names = _binary_names(members) if is_binary else _pickled_names(members)
    found = []
    for split in SPLITS:
        pixels, labels = (_binary if is_binary else _pickled)(members, split)
        for row, (label, extent) in enumerate(zip(labels, _stored(pixels, spool), strict=True)):
            if not 0 <= label < len(names):
                raise DataError(f"{split}: row {row} has label {label}, and there are {len(names)} classes")
            found.append(Picture(split, names[label], f"{row:05d}.png", extent))
    return found


def _stored(pixels: NDArray[np.uint8], spool: Spool) -> Iterator[Extent]:
    """uint8 [N, 3072], red first, then green and blue, each row by row."""
    for row in pixels.reshape(-1, 3, EDGE, EDGE).transpose(0, 2, 3, 1):
        stream = BytesIO()
        Image.fromarray(np.ascontiguousarray(row)).save(stream, format="PNG")
        yield spool.add_bytes(stream.getvalue())


def _binary_names(members: Members) -> list[str]:
    return text(members, "fine_label_names.txt").split()


def _binary(members: Members, split: str) -> tuple[NDArray[np.uint8], Sequence[int]]:
    """A row is the coarse label, the fine label and the pixels."""
    content = np.frombuffer(find(members, f"{split}.bin").read(), np.uint8)
    if len(content) % (2 + _PIXELS):
        raise DataError(f"{split}.bin: {len(content)} bytes are no whole number of rows of {2 + _PIXELS}")
    rows = content.reshape(-1, 2 + _PIXELS)
    return rows[:, 2:], rows[:, 1].tolist()


def _pickled_names(members: Members) -> list[str]:
    names = _item(unpickle(find(members, "meta").read(), "meta"), b"fine_label_names", "meta")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DataError("meta: fine_label_names is no list of names")
    return [name.decode("ascii", "replace") for name in names]


def _pickled(members: Members, split: str) -> tuple[NDArray[np.uint8], Sequence[int]]:
    batch = unpickle(find(members, split).read(), split)
    labels = _item(batch, b"fine_labels", split)
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{split}: fine_labels is no list of numbers")
    pixels = byte_rows(_item(batch, b"data", split), _PIXELS, f"{split}: data")
    if len(labels) != len(pixels):
        raise DataError(f"{split}: {len(labels)} labels for {len(pixels)} pictures")
    return pixels, labels


def _item(document: dict[bytes, Any], key: bytes, where: str) -> Any:
    if key not in document:
        found = ", ".join(sorted(repr(name) for name in document)) or "nothing"
        raise DataError(f"{where}: no {key.decode()}; found {found}. CIFAR-10 in place of CIFAR-100?")
    return document[key]
