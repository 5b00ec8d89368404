"""A sample's tar record: the headers, data and padding of all its members, with nothing that varies in it.

Sizes follow from the lengths of the members alone, so a shard folder can be laid out before a byte is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from hlgp_dist.data.formats import PICTURE_SUFFIXES

BLOCK = tarfile.BLOCKSIZE
TRAILER = bytes(2 * BLOCK)
CHECKSUM_DIGITS = 16
_STEM, _HASH = 40, 16
KEY_LENGTH = _STEM + 1 + _HASH
"""At most."""
_EMPTY = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
_NAME, _LENGTH, _SUM = slice(0, 100), slice(124, 135), slice(148, 154)
_EMPTY_SUM = int(_EMPTY[_SUM], 8)


class Names(NamedTuple):
    """What a picture is called in its source; a file's name need not be text."""

    split: str
    class_name: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)

    def __bytes__(self) -> bytes:
        return b"\0".join(os.fsencode(part) for part in self)

    @property
    def key(self) -> str:
        """Of its sample: without periods, distinct even where stems repeat, the same whatever else the source holds."""
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", PurePosixPath(self.name).stem)[:_STEM]
        return f"{stem}-{hashlib.sha256(bytes(self)).hexdigest()[:_HASH]}"


class Sample(NamedTuple):
    """What a record holds: a label, and one picture's bytes under its suffix; members: all, by suffix."""

    label: int
    suffix: str
    picture: bytes
    members: Mapping[str, bytes]


def padded(length: int) -> int:
    """Bytes that `length` bytes of data take up in a tar."""
    return -(-length // BLOCK) * BLOCK


def record_size(lengths: Iterable[int]) -> int:
    """Bytes of a record whose members have these lengths."""
    return sum(BLOCK + padded(length) for length in lengths)


def pack(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Members (name of at most 100 ASCII characters, data) as a USTAR record without owner or time."""
    parts = []
    for name, data in members:
        parts += [_header(name.encode("ascii"), len(data)), data, bytes(padded(len(data)) - len(data))]
    return b"".join(parts)


def _header(name: bytes, size: int) -> bytes:
    """As `TarInfo(name).tobuf(USTAR_FORMAT)` has it, in a tenth of the time."""
    length = b"%011o" % size
    assert len(name) <= _NAME.stop and len(length) == _LENGTH.stop - _LENGTH.start
    header = bytearray(_EMPTY)
    header[: len(name)] = name
    header[_LENGTH] = length
    header[_SUM] = b"%06o" % (_EMPTY_SUM + sum(name) + sum(length) - sum(_EMPTY[_LENGTH]))
    return bytes(header)


def checksum(record: bytes) -> str:
    """As the manifest has it: the first digits of its SHA-256 in hex."""
    return hashlib.sha256(record).hexdigest()[:CHECKSUM_DIGITS]


def unpack(record: bytes) -> Iterator[tuple[str, bytes]]:
    """The members (name, data) of a record.

    Raises:
        ValueError: it is not a sequence of whole, plain members.
    """
    position = 0
    while position < len(record):
        try:
            info = tarfile.TarInfo.frombuf(record[position : position + BLOCK], "ascii", "strict")
        except (tarfile.TarError, UnicodeDecodeError) as error:
            raise ValueError(f"no tar header at byte {position} of the record: {error}") from error
        start = position + BLOCK
        position = start + padded(info.size)
        if not info.isreg() or position > len(record):
            raise ValueError(f"member {info.name} is cut off or not a plain file")
        yield info.name, record[start : start + info.size]


def sample_of(record: bytes, key: str) -> Sample:
    """Raises ValueError: it is not the record of one picture with a label, all under that key."""
    members = {}
    for name, data in unpack(record):
        stem, _, suffix = name.partition(".")
        if stem != key:
            raise ValueError(f"it is {stem}")
        members[suffix] = data
    if "cls" not in members:
        raise ValueError("it has no label")
    pictures = [suffix for suffix in PICTURE_SUFFIXES if suffix in members]
    if len(pictures) != 1:
        raise ValueError(f"{len(pictures)} pictures, not one")
    return Sample(int(members["cls"]), pictures[0], members[pictures[0]], members)
