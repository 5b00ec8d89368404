"""What becomes of unusual pictures, and of large ones that are scaled down."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.data.manifest import UNTOUCHED, Encoding
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.shards.encode import encode, encoding_of

SMALL = Encoding(resize=32, quality=90)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}
    if mode not in bands:
        return noise(width, height).convert(mode)
    pixels = np.random.default_rng(width).integers(0, 256, width * height * bands[mode], dtype=np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Which a JPEG holds well."""
    return noise(5, 4, mode).resize((width, height), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)  # type: ignore[arg-type]
    return content.getvalue()


def png(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    """A PNG by hand, whose header may claim anything."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(smooth(80, 60), "JPEG", exif=exif, comment=b"taken on a Monday")


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), (60 * index, 0, 0)) for index in range(3)]


def claiming(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than its few bytes could hold."""
    data = bytearray(saved(noise(8, 8), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


USUAL: dict[str, tuple[Callable[[], bytes], str, tuple[int, int]]] = {
    "JPEG": (lambda: saved(smooth(80, 60), "JPEG"), "jpg", (80, 60)),
    "grey JPEG": (lambda: saved(smooth(80, 60, "L"), "JPEG"), "jpg", (80, 60)),
    "CMYK": (lambda: saved(smooth(80, 60, "CMYK"), "JPEG"), "jpg", (80, 60)),
    "rotated by EXIF": (rotated, "jpg", (80, 60)),
    "palette": (lambda: saved(noise(60, 90, "P"), "PNG"), "png", (60, 90)),
    "alpha": (lambda: saved(noise(60, 90, "RGBA"), "PNG"), "png", (60, 90)),
    "palette with alpha": (lambda: saved(noise(60, 90, "P"), "PNG", transparency=3), "png", (60, 90)),
    "one bit": (lambda: saved(noise(60, 90, "1"), "PNG"), "png", (60, 90)),
    "16-bit colour": (lambda: png(40, 40, 16, 2, (b"\0" + bytes(240)) * 40), "png", (40, 40)),
    "several in a JPEG": (
        lambda: saved(frames()[0], "MPO", save_all=True, append_images=frames()[1:]),
        "jpg",
        (64, 48),
    ),
    "animated PNG": (lambda: saved(frames()[0], "PNG", save_all=True, append_images=frames()[1:]), "png", (64, 48)),
}

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "^empty$"),
    "no picture": (lambda: b"years of work", "^neither JPEG nor PNG"),
    "another format": (lambda: saved(noise(9, 9), "BMP"), "^neither JPEG nor PNG"),
    "cut JPEG": (lambda: saved(noise(300, 300), "JPEG")[:-2000], "cannot be decoded .*truncated"),
    "cut PNG": (lambda: saved(noise(300, 300), "PNG")[:-2000], "cannot be decoded"),
    "damaged PNG": (lambda: saved(noise(9, 9), "PNG").replace(b"IDAT", b"IDAX", 1), "its head is damaged"),
    "16-bit grey": (lambda: png(2, 2, 16, 0, (b"\0" + bytes(4)) * 2), "16-bit grey"),
    "bomb, PIL warns": (lambda: png(10_000, 10_000, 8, 2, bytes(9)), "cannot be decoded .*decompression bomb"),
    "bomb, PIL fails": (lambda: png(60_000, 60_000, 8, 2, bytes(9)), "cannot be decoded .*decompression bomb"),
    "JPEG bomb": (lambda: claiming(12_000, 12_000), "cannot be decoded .*decompression bomb"),
}


@pytest.mark.parametrize("kind", USUAL)
def test_bytes_stay_untouched_and_the_size_is_the_files(kind: str) -> None:
    make, suffix, size = USUAL[kind]
    stored = encode(make(), UNTOUCHED)
    assert (stored.suffix, (stored.width, stored.height), stored.data) == (suffix, size, make())


@pytest.mark.parametrize("kind", USUAL)
def test_a_scaled_picture_is_rgb_upright_as_stored_and_without_metadata(kind: str) -> None:
    make, suffix, (width, height) = USUAL[kind]
    stored = encode(make(), SMALL)
    assert stored.suffix == suffix
    assert (stored.width, stored.height) == (width * 32 // min(width, height), height * 32 // min(width, height))
    with Image.open(io.BytesIO(stored.data)) as picture, Image.open(io.BytesIO(make())) as original:
        assert picture.mode == "RGB" and picture.size == (stored.width, stored.height)
        assert picture.format == ("JPEG" if suffix == "jpg" else "PNG")
        assert not picture.getexif() and "comment" not in picture.info and "transparency" not in picture.info
        reference = original.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(picture, int) - np.asarray(reference, int)).mean() < (6 if suffix == "jpg" else 1e-9)


@pytest.mark.parametrize("encoding", [UNTOUCHED, SMALL], ids=["untouched", "scaled"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_run_could_use_is_refused(kind: str, encoding: Encoding) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        encode(make(), encoding)


def test_nothing_is_enlarged_or_encoded_again_without_need() -> None:
    for data in (saved(noise(32, 90), "JPEG", quality=30), saved(noise(20, 90), "PNG")):
        assert encode(data, SMALL).data == data


def test_quality_counts_for_jpegs_alone() -> None:
    jpeg, other = saved(noise(200, 200), "JPEG"), saved(noise(200, 200), "PNG")
    poor = Encoding(resize=64, quality=10)
    assert len(encode(jpeg, poor).data) < len(encode(jpeg, Encoding(resize=64, quality=90)).data) / 2
    assert encode(other, poor).data == encode(other, Encoding(resize=64, quality=90)).data


def test_the_options_of_the_command_line() -> None:
    assert encoding_of(None, None) == UNTOUCHED
    assert encoding_of(256, None) == Encoding(256, 90)
    assert encoding_of(256, 75) == Encoding(256, 75)
    with pytest.raises(ConfigError, match="--quality 75: has no effect without --resize"):
        encoding_of(None, 75)
    with pytest.raises(ConfigError, match="--resize 0"):
        encoding_of(0, None)
