"""One class's pictures of one split, decoded, in one file: the pixels, then a record of how they were made.

n pictures of the class. Where each lies follows from the manifest's sizes alone.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import threading
import zlib
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import features

from hlgp_dist.data.decoding import Pixels

_VERSION = 3
_FOOTER = struct.Struct("<8sQI")
_MAGIC = b"pictures"
_ROOM, _ROOM_EACH = 1024, 512
"""Bytes that a record may have, and each picture in it."""


class Damaged(Exception):
    """A file that is not what was written."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where in its file each picture lies.

    name: identifies the pixels; indices: int64 [n], into the split; shapes: int64 [n, 2], height and width;
    offsets: int64 [n + 1].
    """

    name: str
    pixels: Pixels
    indices: NDArray[np.int64]
    shapes: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def room(self) -> int:
        """Bytes that the whole file needs at most."""
        return int(self.offsets[-1]) + _ROOM + _ROOM_EACH * len(self) + _FOOTER.size


def class_layout(pixels: Pixels, class_index: int) -> Layout:
    """Of one class; its name tells content, form, size and decoder apart, but not labels, so class orders share it."""
    indices = pixels.split.of_class(class_index)
    shapes = pixels.shapes(indices)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(3 * shapes.prod(axis=1))])
    packages = [package.__version__ for package in (PIL, torch, torchvision)]
    decoder = [*packages, features.version("jpg"), features.version("libjpeg_turbo")]
    size = asdict(pixels.size) if pixels.form == "scaled" else None
    identity = [_VERSION, decoder, pixels.manifest.digest, pixels.split_name, class_index, pixels.form, size]
    return Layout(hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32], pixels, indices, shapes, offsets)


@dataclass(frozen=True)
class Record:
    """What making the file came to.

    checksums: CRC-32 of each picture, of a bad one 0; bad: position -> reason; bytes_read: of the shards;
    stamp: random, so that no other making has it.
    """

    checksums: list[int]
    bad: dict[int, str]
    bytes_read: int
    stamp: str


def write_record(descriptor: int, layout: Layout, record: Record) -> int:
    """Write it behind the pixels; the length of the whole file."""
    content = json.dumps(asdict(record)).encode()
    footer = _FOOTER.pack(_MAGIC, len(content), zlib.crc32(content))
    _write(descriptor, content + footer, int(layout.offsets[-1]))
    return int(layout.offsets[-1]) + len(content) + len(footer)


def read_record(descriptor: int, layout: Layout) -> Record:
    """The record of a file of that layout.

    Raises:
        Damaged: it has another length, or the record another checksum.
    """
    behind = _read(descriptor, os.fstat(descriptor).st_size - int(layout.offsets[-1]), int(layout.offsets[-1]))
    content, footer = behind[: -_FOOTER.size], behind[-_FOOTER.size :]
    if len(footer) < _FOOTER.size or footer != _FOOTER.pack(_MAGIC, len(content), zlib.crc32(content)):
        raise Damaged("its end is not a record")
    document = json.loads(content)
    bad = {int(position): reason for position, reason in document.pop("bad").items()}
    return Record(bad=bad, **document)


def check_pictures(descriptor: int, layout: Layout, record: Record, cancelled: threading.Event) -> None:
    """Compare every picture's checksum, reading the file once; by reads, which fail where a map would kill.

    Raises:
        Damaged: naming the first that differs.
        CancelledError: as it says.
    """
    for position, checksum in enumerate(record.checksums):
        if cancelled.is_set():
            raise CancelledError
        start, stop = layout.offsets[position : position + 2].tolist()
        if position not in record.bad and zlib.crc32(_read(descriptor, stop - start, start)) != checksum:
            raise Damaged(f"picture {position} is not what was written")


def write_picture(descriptor: int, layout: Layout, position: int, picture: NDArray[np.uint8]) -> int:
    """Its checksum."""
    content = picture.data.cast("B")
    _write(descriptor, content, int(layout.offsets[position]))
    return zlib.crc32(content)


class Mapped:
    """The pictures of a file, by position in the class. The file is in use for as long as this or a picture lives."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        self._layout = layout
        length = int(layout.offsets[-1])
        content = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ) if length else b""
        self._pixels = np.frombuffer(content, dtype=np.uint8)

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        start, stop = self._layout.offsets[position : position + 2]
        height, width = self._layout.shapes[position]
        return self._pixels[start:stop].reshape(height, width, 3)


def _write(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    with memoryview(content) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)


def _read(descriptor: int, length: int, offset: int) -> bytes:
    """As many as there are."""
    parts = []
    while length > 0 and (part := os.pread(descriptor, length, offset)):
        parts.append(part)
        length, offset = length - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
