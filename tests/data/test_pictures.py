"""Pixels equal timm's evaluation transform."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from hlgp_dist.data.picture import to_array
from hlgp_dist.types import PictureSize


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(pixels[:, :, 0])
    if mode in ("RGBA", "CMYK"):
        return Image.frombytes(mode, (width, height), pixels.tobytes())
    return Image.fromarray(pixels[:, :, :3]).convert(mode)


def rotated_by_exif() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    noise(40, 30).save(stream, "JPEG", exif=exif)
    return Image.open(stream)


PICTURES = {
    "square": noise(50, 50),
    "wide": noise(91, 40),
    "tall": noise(33, 120),
    "exact": noise(32, 32),
    "line": noise(60, 1),
    "tiny grey": noise(8, 8, "L"),
    "palette": noise(37, 41, "P"),
    "alpha": noise(45, 31, "RGBA"),
    "grey with alpha": noise(45, 31, "LA"),
    "cmyk": noise(30, 44, "CMYK"),
    "one bit": noise(31, 29, "1"),
    "rotated by exif": rotated_by_exif(),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    "size",
    [
        PictureSize(32, 1.0, "bicubic"),
        PictureSize(32, 0.875, "bilinear"),
        PictureSize(30, 0.9, "bicubic"),
        PictureSize(32, 0.95, "bicubic", "squash"),
    ],
    ids=str,
)
def test_parity_with_timm(name: str, size: PictureSize) -> None:
    picture = PICTURES[name]
    reference = create_transform(
        (3, size.size, size.size),
        is_training=False,
        interpolation=size.interpolation,
        crop_pct=size.crop_pct,
        crop_mode=size.crop_mode,
        normalize=False,
    )
    ours = to_array(picture, size)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, reference(picture.convert("RGB")).numpy())
