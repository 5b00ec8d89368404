"""Stored pictures: of known shape, and evaluated as timm's transform does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from hlgp_dist.data.picture import Form, as_evaluated, scaled, scaled_exactly, stored_shape, whole
from hlgp_dist.types import PictureSize

FULL_TOLERANCE, FULL_MEAN = 12, 0.5
"""Of 255, on noise. Torch's antialiased uint8 kernel and PIL round and cut off after each axis, and not alike: mostly
by 1; bicubic where the sides nearly agree (33 px to 32) by up to 11 in 3 % of the values."""

WHOLE_TOLERANCE = 16
"""The same beyond the central crop."""


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


SIZES = (
    PictureSize(32, 1.0, "bicubic"),
    PictureSize(32, 0.875, "bilinear"),
    PictureSize(30, 0.9, "bicubic"),
    PictureSize(32, 0.95, "bicubic", "squash"),
)


def timm_of(picture: Image.Image, size: PictureSize) -> np.ndarray:
    """uint8 [S, S, 3]."""
    transform = create_transform(
        (3, size.size, size.size),
        is_training=False,
        interpolation=size.interpolation,
        crop_pct=size.crop_pct,
        crop_mode=size.crop_mode,
        normalize=False,
    )
    pixels: np.ndarray = transform(picture.convert("RGB")).numpy().transpose(1, 2, 0)
    return pixels


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_scaled_picture_is_evaluated_as_by_timm(name: str, size: PictureSize) -> None:
    stored = scaled_exactly(PICTURES[name], size)
    assert stored.dtype == np.uint8
    assert np.array_equal(as_evaluated(stored, size, "scaled"), timm_of(PICTURES[name], size))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_full_picture_is_evaluated_as_by_timm_up_to_rounding(name: str, size: PictureSize) -> None:
    picture = PICTURES[name]
    stored = np.asarray(picture.convert("RGB"))
    difference = np.abs(as_evaluated(stored, size, "full").astype(int) - timm_of(picture, size))
    assert difference.max() <= FULL_TOLERANCE
    assert difference.mean() <= FULL_MEAN


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_picture_is_scaled_as_by_timm_up_to_rounding(name: str, size: PictureSize) -> None:
    exact = scaled_exactly(PICTURES[name], size)
    fast = scaled(np.array(PICTURES[name].convert("RGB")), size)
    assert fast.shape == exact.shape
    assert fast.flags.c_contiguous
    difference = np.abs(fast.astype(int) - exact)
    assert difference.max() <= WHOLE_TOLERANCE
    assert difference.mean() <= FULL_MEAN


@pytest.mark.parametrize("size", [PictureSize(224, 0.9, "bicubic"), PictureSize(224, 0.875, "bilinear")], ids=str)
def test_of_a_smooth_picture_few_values_differ_by_one(size: PictureSize) -> None:
    picture = noise(20, 15).resize((500, 375), Image.Resampling.BICUBIC)
    difference = np.abs(scaled(np.array(picture), size).astype(int) - scaled_exactly(picture, size))
    assert difference.max() <= 2
    assert difference.mean() <= 0.01


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=5),
    st.sampled_from(SIZES),
    st.sampled_from(["scaled", "full"]),
)
def test_the_stored_shape_is_known_without_the_picture(
    sides: list[tuple[int, int]], size: PictureSize, form: Form
) -> None:
    width, height = np.array(sides, dtype=np.int32).T
    shapes = np.stack(stored_shape(width, height, size, form), axis=1)
    blank = [Image.new("RGB", (wide, high)) for wide, high in sides]
    arrays = [np.asarray(picture) if form == "full" else scaled_exactly(picture, size) for picture in blank]
    assert shapes.tolist() == [list(array.shape[:2]) for array in arrays]


JPEGS: dict[str, dict[str, object]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "no subsampling": {"subsampling": 0},
    "half subsampling": {"subsampling": 1},
    "low quality": {"quality": 20},
    "optimised": {"optimize": True},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_is_decoded_as_by_pil(mode: str, options: dict[str, object]) -> None:
    for width, height in ((64, 48), (37, 91), (1, 3)):
        stream = io.BytesIO()
        noise(width, height).convert(mode).save(stream, "JPEG", **options)
        decoded = whole(stream.getvalue())
        assert np.array_equal(decoded, np.asarray(Image.open(stream).convert("RGB")))
        assert decoded.flags.c_contiguous


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "1"])
def test_a_png_is_decoded_by_pil(mode: str) -> None:
    stream = io.BytesIO()
    noise(9, 5).convert(mode).save(stream, "PNG")
    assert np.array_equal(whole(stream.getvalue()), np.asarray(Image.open(stream).convert("RGB")))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_jpeg_is_refused_in_pils_words(keep: float) -> None:
    stream = io.BytesIO()
    noise(64, 48).save(stream, "JPEG")
    content = stream.getvalue()[: int(keep * len(stream.getvalue()))]
    with pytest.raises(OSError, match=r"(?i)truncated|cannot identify"):
        whole(content)
