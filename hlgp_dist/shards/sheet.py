"""A contact sheet: the first pictures of each class beside its name, to see at a glance what a shard folder holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from hlgp_dist.data.manifest import UNTOUCHED, Split
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.place import Place
from hlgp_dist.data.record import sample_of
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure
from hlgp_dist.shards.encode import encode

CLASSES = 40
PICTURES = 8
_EDGE, _GAP, _NAMES = 72, 4, 220
_ROW = _EDGE + _GAP


def write_sheet(path: str | Path, file: Path) -> int:
    """Draw training pictures of the first CLASSES classes, evenly spread over each, as a PNG; returns how many classes.

    Raises:
        ConfigError: `file` is no .png, or exists.
        EnvironmentFailure: there is no folder for it.
        DataError: see `read_manifest`; or a picture cannot be decoded.
    """
    _check(file)
    manifest = read_manifest(path)
    names, split = manifest.classes[:CLASSES], manifest.splits["train"]
    sheet = Image.new("RGB", (_NAMES + PICTURES * _ROW, len(names) * _ROW + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    with closing(open_place(path)) as place:
        for row, name in enumerate(names):
            top = row * _ROW + _GAP
            draw.text((_GAP, top + _EDGE / 2), _cut(name, draw, font), fill="black", font=font, anchor="lm")
            for column, picture in enumerate(_thumbnails(place, split, row)):
                sheet.paste(picture, (_NAMES + column * _ROW, top))
    sheet.save(file, "PNG")
    return len(names)


def _check(file: Path) -> None:
    """What can be refused before anything is read."""
    if file.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {file}: the sheet is a PNG; give a name that ends in .png")
    if file.exists():
        raise ConfigError(f"--sheet {file}: exists already")
    if not file.parent.is_dir():
        raise EnvironmentFailure(f"--sheet {file}: there is no folder {file.parent}")


def _cut(name: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The name as far as it fits."""
    while len(name) > 1 and draw.textlength(name, font) > _NAMES - 2 * _GAP:
        name = f"{name[:-2]}…"
    return name


def _thumbnails(place: Place, split: Split, class_index: int) -> Iterator[Image.Image]:
    own = np.flatnonzero(split.class_index == class_index)
    count = min(PICTURES, len(own))
    for index in own[np.arange(count) * len(own) // max(count, 1)].tolist():
        name, key = split.shards[split.shard[index]].name, split.key[index].decode()
        record = place.read(name, int(split.offset[index]), int(split.size[index]))
        try:
            data = sample_of(record, key).picture
            encode(data, UNTOUCHED)
            with Image.open(BytesIO(data)) as picture:
                yield ImageOps.pad(picture.convert("RGB"), (_EDGE, _EDGE), color="white")
        except (DataError, ValueError) as error:
            raise DataError(f"{place.url}/{name}: sample {key}: {error}") from error
