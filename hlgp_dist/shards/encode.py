"""A picture's bytes as they are stored: untouched, or scaled down and encoded again; unusable ones are refused."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from hlgp_dist.data.formats import FORMATS, SIXTEEN_BIT, SUFFIX_OF, is_16_bit
from hlgp_dist.data.manifest import Encoding
from hlgp_dist.errors import ConfigError, DataError

QUALITY = 90
_GAP = 2
"""A JPEG is decoded at the smallest eighth of its size that leaves this much for the filter, as `Image.thumbnail`."""


class Encoded(NamedTuple):
    """What is stored of a picture: the member's suffix, `jpg` or `png`, its size in pixels, its bytes."""

    suffix: str
    width: int
    height: int
    data: bytes


def encoding_of(resize: int | None, quality: int | None) -> Encoding:
    """The encoding that a command line names.

    Raises:
        ConfigError: a value is out of range or has no effect.
    """
    if resize is None and quality is not None:
        raise ConfigError(f"--quality {quality}: has no effect without --resize; pictures are stored untouched")
    if resize is None:
        return Encoding()
    quality = QUALITY if quality is None else quality
    if resize < 1 or not 1 <= quality <= 100:
        raise ConfigError(f"--resize {resize} --quality {quality}: at least 1 pixel, and a quality of 1 to 100")
    return Encoding(resize, quality)


def encode(data: bytes, encoding: Encoding) -> Encoded:
    """The stored form of a JPEG or PNG, told apart by content: public benchmarks hold PNGs under JPEG names.

    Decodes the whole stream, so that a cut-off picture is found now and not in the middle of a run; a JPEG that stays
    untouched at an eighth of its size, which costs a sixth of a full decode.

    Raises:
        DataError: it is empty, of another format, damaged, larger than PIL's limit, or of 16-bit grey.
    """
    if not data:
        raise DataError("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _encode(data, encoding)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError("neither JPEG nor PNG, or its head is damaged") from None
    except Exception as error:  # of a damaged file PIL raises nearly anything
        raise DataError(f"cannot be decoded ({error})") from error


def _encode(data: bytes, encoding: Encoding) -> Encoded:
    with Image.open(BytesIO(data), formats=FORMATS) as picture:
        suffix, (width, height) = SUFFIX_OF[str(picture.format)], picture.size
        if is_16_bit(picture):
            raise DataError(SIXTEEN_BIT)
        if encoding.resize is None or min(width, height) <= encoding.resize:
            picture.draft("RGB", (1, 1))
            picture.load()
            return Encoded(suffix, width, height, data)
        short = min(width, height)
        size = width * encoding.resize // short, height * encoding.resize // short
        picture.draft("RGB", (_GAP * size[0], _GAP * size[1]))
        scaled = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    scaled.info = {}  # what would be written beside the pixels: comments, profiles, an orientation
    content = BytesIO()
    if suffix == "jpg":
        scaled.save(content, "JPEG", quality=encoding.quality)
    else:
        scaled.save(content, "PNG")
    return Encoded(suffix, *size, content.getvalue())
