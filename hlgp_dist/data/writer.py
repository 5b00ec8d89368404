"""Writes one shard: reads its pictures, proves that they decode, and packs them untouched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from hlgp_dist.data.layout import PlannedSample, companions
from hlgp_dist.data.listing import Picture
from hlgp_dist.data.manifest import CHECKSUM_DIGITS
from hlgp_dist.data.record import TRAILER, pack
from hlgp_dist.errors import DataError

_SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}


class Header(NamedTuple):
    """What a picture's file says: the member's suffix, `jpg` or `png`, and its size in pixels."""

    suffix: str
    width: int
    height: int


@dataclass
class Written:
    """One finished shard. Lists hold an entry a picture, in order; a shard with bad pictures is not usable.

    pictures: SHA-256 of the pictures' bytes; checksums: of the records, as the manifest has them; bad: what was wrong
    with others.
    """

    sha256: str = ""
    pictures: list[bytes] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    checksums: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def write_shard(file: Path, samples: Iterable[PlannedSample]) -> Written:
    """Write the samples at their planned offsets."""
    whole, written = hashlib.sha256(), Written()
    with file.open("wb") as stream:
        for chunk in _records(samples, written):
            whole.update(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    written.sha256 = whole.hexdigest()
    return written


def _records(samples: Iterable[PlannedSample], written: Written) -> Iterator[bytes]:
    """A shard's bytes, record by record; goes on after a bad picture so that all of them are found."""
    for sample in samples:
        picture = sample.picture
        try:
            data = read_picture(picture)
            header = read_header(data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, DataError) as error:
            written.bad.append(f"{picture.split}/{picture.class_name}/{picture.name}: {error}")
            continue
        members = ((header.suffix, data), *companions(picture, sample.class_index))
        record = pack((f"{sample.key}.{kind}", content) for kind, content in members)
        assert len(record) == sample.size
        written.pictures.append(hashlib.sha256(data).digest())
        written.headers.append(header)
        written.checksums.append(hashlib.sha256(record).hexdigest()[:CHECKSUM_DIGITS])
        yield record
    yield TRAILER


def read_picture(picture: Picture) -> bytes:
    """The picture's bytes.

    Raises:
        DataError: fewer than when it was listed.
    """
    with Path(picture.file).open("rb") as stream:
        stream.seek(picture.offset)
        data = stream.read(picture.size)
    if len(data) != picture.size:
        raise DataError(f"{picture.file} became shorter while it was read")
    return data


def read_header(data: bytes) -> Header:
    """By content: public benchmarks hold PNGs under JPEG names.

    Decodes the whole stream, so that a cut-off picture is found now and not in the middle of a run; a JPEG at an
    eighth of its size, which costs a sixth of a full decode.

    Raises:
        OSError: neither JPEG nor PNG, or not decodable (PIL raises SyntaxError for some broken PNGs).
    """
    try:
        picture = Image.open(BytesIO(data), formats=("JPEG", "PNG"))
    except UnidentifiedImageError:
        raise OSError("neither JPEG nor PNG") from None
    with picture:
        header = Header(_SUFFIX[str(picture.format)], *picture.size)
        picture.draft("RGB", (1, 1))
        picture.load()
        return header
