"""The label vector of a MATLAB 5 file, which is all that Oxford Flowers 102 needs of that format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from hlgp_dist.errors import DataError

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
_LIMIT = 16 << 20


def labels(content: bytes, where: str) -> list[int]:
    """The whole numbers of the first matrix of a little-endian file.

    Raises:
        DataError: it is no such file.
    """
    try:
        if content[126:128] != b"IM":
            raise ValueError("no little-endian MATLAB 5 file")
        kind, data = next(_elements(content[_HEADER:]))
        if kind == _COMPRESSED:
            kind, data = next(_elements(zlib.decompressobj().decompress(data, _LIMIT)))
        if kind != _MATRIX:
            raise ValueError("the first element is no matrix")
        _flags, _shape, _name, (number, values) = list(_elements(data))[:4]
        return [int(value) for value in np.frombuffer(values, _NUMBERS[number])]
    except (KeyError, ValueError, StopIteration, struct.error, zlib.error) as error:
        raise DataError(f"{where}: no vector of labels ({type(error).__name__}: {error})") from error


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(Type, data) of each element: a tag of two words, data, padding to eight bytes; four bytes fit into the tag."""
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from("<II", content, position)
        if kind >> 16:
            yield kind & 0xFFFF, content[position + 4 : position + 4 + (kind >> 16)]
            position += 8
            continue
        if position + 8 + size > len(content):
            raise ValueError("cut off")
        yield kind, content[position + 8 : position + 8 + size]
        position += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
