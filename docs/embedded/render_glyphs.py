"""Renders letters of many scripts from installed fonts into one .npz; no digit, and nothing that looks like one."""

import argparse
import random
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CANVAS = 64
INK_BOX = 48  # the longer side of a glyph's ink; the margin is room for the affine augmentation
FONT_PIXELS = 96  # drawn larger, then resized to the ink box
LATIN_FONTS = ("DejaVuS", "Free", "Liberation", "NotoSans-", "NotoSerif-")
MAX_FONTS = 8
MIN_FONTS = 2
LETTER_CATEGORIES = ("Lu", "Ll", "Lo")  # digits and other numbers (Nd, Nl, No) are not among them
LOOKS_LIKE_A_DIGIT = set("OoQDIlijJSsZzBbGgqpYyTtLEeƷʒƸƹȜȝƧƨƼƽƵƶƐɛƍƋƌΟοΙιΣσΘθΕβζЗзОоІіЅѕЕеЄЭэбЬьЧчӠӡԐԑՏօցջՁვჳ")
DIGIT_LIKENESS = 0.70  # correlation of blurred pictures, the largest over fonts and the ten digits
SAME_LIKENESS = 0.90  # two classes closer than this are one class


@dataclass(frozen=True)
class Glyph:
    """One class: a character and its pictures, uint8 [F,64,64], with the font file of each."""

    character: str
    pictures: NDArray[np.uint8]
    fonts: tuple[str, ...]


@cache
def open_font(file: Path) -> ImageFont.FreeTypeFont:
    """The plain shapes of the font, without the shaping library, which not every machine has."""
    return ImageFont.truetype(str(file), FONT_PIXELS, layout_engine=ImageFont.Layout.BASIC)


def draw(character: str, font: ImageFont.FreeTypeFont) -> NDArray[np.uint8] | None:
    """The glyph, bright on dark, its ink scaled to the box and centred; None if it leaves no ink."""
    picture = Image.new("L", (4 * FONT_PIXELS, 4 * FONT_PIXELS))
    ImageDraw.Draw(picture).text((FONT_PIXELS, FONT_PIXELS), character, fill=255, font=font)
    box = picture.getbbox()
    if box is None:
        return None
    ink = picture.crop(box)
    scale = INK_BOX / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(ink.resize((width, height), Image.Resampling.BICUBIC), ((CANVAS - width) // 2, (CANVAS - height) // 2))
    return np.asarray(canvas)


def is_letter(code_point: int) -> bool:
    """Whether it is a letter with a name of its own: no accented, positional or styled form of another letter."""
    character = chr(code_point)
    return (
        unicodedata.category(character) in LETTER_CATEGORIES
        and not unicodedata.decomposition(character)
        and character not in LOOKS_LIKE_A_DIGIT
    )


def fonts_by_letter(files: list[Path]) -> dict[str, list[Path]]:
    """Letter -> the font files that have it."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        with TTFont(file, lazy=True) as font:
            for code_point in font.getBestCmap() or {}:
                if is_letter(code_point):
                    found[chr(code_point)].append(file)
    return dict(found)


def render(letters: dict[str, list[Path]], rng: random.Random) -> list[Glyph]:
    """Every letter with at least two fonts that draw it differently."""
    glyphs: list[Glyph] = []
    for character, files in sorted(letters.items()):
        chosen = rng.sample(files, min(MAX_FONTS, len(files)))
        drawn: dict[bytes, tuple[NDArray[np.uint8], str]] = {}
        for file in chosen:
            picture = draw(character, open_font(file))
            if picture is not None:
                drawn.setdefault(picture.tobytes(), (picture, file.stem))
        if len(drawn) >= MIN_FONTS:
            pictures, names = zip(*drawn.values(), strict=True)
            glyphs.append(Glyph(character, np.stack(pictures), names))
    return glyphs


def blurred(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N,64,64] -> [N,256]: 16x16 box means, centred and of length one, so that a dot product is a correlation."""
    blocks = pictures.reshape(len(pictures), 16, 4, 16, 4)
    coarse = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(pictures), -1)
    coarse -= coarse.mean(axis=1, keepdims=True)
    lengths: NDArray[np.float32] = np.sqrt((coarse**2).sum(axis=1, keepdims=True))
    unit: NDArray[np.float32] = coarse / np.maximum(lengths, 1e-6)
    return unit


def digit_pictures(files: list[Path]) -> NDArray[np.uint8]:
    """The ten ASCII digits in every Latin font: what the classes must not look like."""
    fonts = [open_font(file) for file in files if file.stem.startswith(LATIN_FONTS)]
    drawn = [draw(digit, font) for font in fonts for digit in "0123456789"]
    return np.stack([picture for picture in drawn if picture is not None])


def distinct(glyphs: list[Glyph], digits: NDArray[np.uint8]) -> list[Glyph]:
    """Drops what looks like a digit and what looks like a glyph already kept (A in Greek and Cyrillic, c beside C)."""
    avoid = blurred(digits)
    kept: list[Glyph] = []
    seen = np.zeros((0, avoid.shape[1]), dtype=np.float32)
    for glyph in glyphs:
        views = blurred(glyph.pictures)
        is_new = len(seen) == 0 or (views @ seen.T).max() < SAME_LIKENESS
        if is_new and (views @ avoid.T).max() < DIGIT_LIKENESS:
            kept.append(glyph)
            seen = np.concatenate([seen, views])
    return kept


def save(path: Path, glyphs: list[Glyph], num_classes: int, rng: random.Random) -> None:
    """A random choice of classes, in random order (so that any slice of classes mixes the scripts)."""
    chosen = rng.sample(glyphs, min(num_classes, len(glyphs)))
    np.savez_compressed(
        path,
        pictures=np.concatenate([glyph.pictures for glyph in chosen]),
        labels=np.repeat(np.arange(len(chosen)), [len(glyph.fonts) for glyph in chosen]),
        fonts=np.array([font for glyph in chosen for font in glyph.fonts]),
        characters=np.array([glyph.character for glyph in chosen]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts/truetype"))
    parser.add_argument("--num-classes", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    files = sorted(args.fonts.rglob("*.ttf"))
    rendered = render(fonts_by_letter(files), rng)
    glyphs = distinct(rendered, digit_pictures(files))
    save(args.out, glyphs, args.num_classes, rng)
    written = min(args.num_classes, len(glyphs))
    print(f"{len(files)} fonts, {len(rendered)} letters, {len(glyphs)} distinct, {written} written")


if __name__ == "__main__":
    main()
