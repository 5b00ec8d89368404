"""Which pictures there are: JPEG and PNG, told apart by content, under these suffixes in a shard."""

from __future__ import annotations

from PIL import Image

FORMATS = ("JPEG", "PNG")
SUFFIX_OF = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""By PIL's name for what it found; an MPO is a JPEG with others behind it."""
PICTURE_SUFFIXES = tuple(sorted(set(SUFFIX_OF.values())))
SIXTEEN_BIT = "16-bit grey, of which decoders make white; store it with 8 bits"


def is_16_bit(picture: Image.Image) -> bool:
    """Whether it is of 16-bit grey."""
    return picture.mode.startswith("I")
