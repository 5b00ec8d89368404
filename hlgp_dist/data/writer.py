"""Writes one shard: reads its pictures, proves that they decode, and packs them untouched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hlgp_dist.data.layout import PlannedSample, companions
from hlgp_dist.data.listing import Picture
from hlgp_dist.data.record import TRAILER, pack
from hlgp_dist.errors import DataError

_SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}


@dataclass(frozen=True)
class Written:
    """One finished shard: its checksum, its pictures' checksums in order, and what was wrong with others."""

    sha256: str
    pictures: tuple[bytes, ...]
    bad: tuple[str, ...]


def write_shard(file: Path, samples: Iterable[PlannedSample]) -> Written:
    """Write the samples at their planned offsets. A shard with bad pictures is not usable."""
    whole = hashlib.sha256()
    pictures: list[bytes] = []
    bad: list[str] = []
    with file.open("wb") as stream:
        for chunk in _records(samples, pictures, bad):
            whole.update(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return Written(whole.hexdigest(), tuple(pictures), tuple(bad))


def _records(samples: Iterable[PlannedSample], pictures: list[bytes], bad: list[str]) -> Iterator[bytes]:
    """A shard's bytes, record by record; goes on after a bad picture so that all of them are found."""
    for sample in samples:
        picture = sample.picture
        try:
            data = read_picture(picture)
            suffix = picture_suffix(data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, DataError) as error:
            bad.append(f"{picture.split}/{picture.class_name}/{picture.name}: {error}")
            continue
        pictures.append(hashlib.sha256(data).digest())
        members = ((suffix, data), *companions(picture, sample.class_index))
        record = pack((f"{sample.key}.{kind}", content) for kind, content in members)
        assert len(record) == sample.size
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


def picture_suffix(data: bytes) -> str:
    """`jpg` or `png`, by content: public benchmarks hold PNGs under JPEG names.

    Decodes the whole stream, so that a cut-off picture is found now and not in the middle of a run; a JPEG at an
    eighth of its size, which costs a sixth of a full decode.

    Raises:
        OSError: neither, or not decodable (PIL raises SyntaxError for some broken PNGs).
    """
    try:
        picture = Image.open(BytesIO(data), formats=("JPEG", "PNG"))
    except UnidentifiedImageError:
        raise OSError("neither JPEG nor PNG") from None
    with picture:
        picture.draft("RGB", (1, 1))
        picture.load()
        return _SUFFIX[str(picture.format)]
