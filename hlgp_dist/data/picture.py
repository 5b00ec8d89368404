"""A decoded picture as it is stored, and as the model sees it in evaluation: timm's transform.

H, W: a stored picture's sides; S: the model's.
"""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from io import BytesIO
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms
from torchvision.transforms.v2 import functional as tensors

from hlgp_dist.data.formats import FORMATS, SIXTEEN_BIT, is_16_bit
from hlgp_dist.types import PictureSize

warnings.filterwarnings("ignore", message="Palette images with Transparency")  # which is dropped, see `scaled_exactly`

Form = Literal["scaled", "full"]
"""scaled: the whole picture at the size from which timm's evaluation transform crops; full: at its own size."""


def stored_shape(
    width: NDArray[np.integer], height: NDArray[np.integer], size: PictureSize, form: Form
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(H, W) of pictures of these sides."""
    wide, high = width.astype(np.int64), height.astype(np.int64)
    if form == "full":
        return high, wide
    edge = _edge(size)
    if size.crop_mode == "squash":
        return np.full_like(high, edge), np.full_like(wide, edge)
    longer = (edge * np.maximum(wide, high) / np.minimum(wide, high)).astype(np.int64)  # cut off, as torchvision does
    return np.where(wide <= high, longer, edge), np.where(wide <= high, edge, longer)


def stored_of(content: bytes, size: PictureSize, form: Form, *, is_exact: bool) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], read-only, of a JPEG or PNG file; is_exact: a scaled one bit for bit as by timm."""
    if form == "scaled" and is_exact:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            return scaled_exactly(picture, size)
    stored = whole(content) if form == "full" else scaled(whole(content), size)
    stored.flags.writeable = False
    return stored


def stored_as(picture: NDArray[np.uint8], size: PictureSize, form: Form, *, is_exact: bool) -> NDArray[np.uint8]:
    """Likewise, of pixels [H, W, 3] that no file holds."""
    if form == "full":
        return picture
    return scaled_exactly(Image.fromarray(picture), size) if is_exact else scaled(picture, size)


def whole(content: bytes) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a JPEG or PNG file; see `scaled_exactly`.

    Grey and coloured JPEGs are left to torchvision, which copies less than PIL around the same decoder: equal values,
    in two thirds of the time. What it refuses is PIL's to judge.
    """
    with Image.open(BytesIO(content), formats=FORMATS) as picture:
        if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
            with suppress(RuntimeError):
                planes = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
                pixels: NDArray[np.uint8] = planes.permute(1, 2, 0).numpy()
                return pixels
        return np.array(_coloured(picture))


def scaled_exactly(picture: Image.Image, size: PictureSize) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], read-only, bit for bit as by timm.

    Grey, palette, CMYK and transparent pictures are converted by PIL's `convert("RGB")`, transparency is dropped,
    and the EXIF orientation is NOT applied: all as timm and torchvision's ImageFolder do.

    Raises:
        ValueError: it is of 16-bit grey, most of which that conversion makes white.
    """
    return np.asarray(transforms.resize(_coloured(picture), _edges(size), InterpolationMode(size.interpolation)))


def _coloured(picture: Image.Image) -> Image.Image:
    if is_16_bit(picture):
        raise ValueError(SIXTEEN_BIT)
    return picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it


def scaled(picture: NDArray[np.uint8], size: PictureSize) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a whole picture, by torch's antialiased uint8 kernel.

    It takes a sixth of PIL's time and rounds otherwise: of a photograph 0.4 % of the values differ by 1, one in a
    million by 2.
    """
    image, mode = torch.from_numpy(picture).permute(2, 0, 1), InterpolationMode(size.interpolation)
    resized = tensors.resize_image(image, _edges(size), interpolation=mode, antialias=True)
    return np.ascontiguousarray(resized.permute(1, 2, 0).numpy())


def as_evaluated(stored: NDArray[np.uint8], size: PictureSize, form: Form) -> NDArray[np.uint8]:
    """uint8 [S, S, 3] of a stored picture [H, W, 3]: the central crop, a view where it can be.

    Of a scaled one bit for bit timm's; a full one is first scaled by torch's antialiased uint8 kernel, whose rounding
    differs from PIL's.
    """
    if form == "full":
        stored = scaled(np.array(stored), size)
    top, left = (round((side - size.size) / 2.0) for side in stored.shape[:2])
    return stored[top : top + size.size, left : left + size.size]


def _edge(size: PictureSize) -> int:
    return math.floor(size.size / size.crop_pct)


def _edges(size: PictureSize) -> list[int]:
    """Both sides, or the shorter one alone, as torchvision takes them."""
    return [_edge(size)] * 2 if size.crop_mode == "squash" else [_edge(size)]
