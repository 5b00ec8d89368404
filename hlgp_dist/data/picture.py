"""A decoded picture at the model's size: timm's evaluation transform, up to its last uint8 value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from hlgp_dist.errors import ConfigError

CROP_MODES = ("center", "squash")


@dataclass(frozen=True)
class PictureSize:
    """How a picture becomes S x S, named as in timm's `pretrained_cfg`.

    size: S in pixels; crop_pct: the part of the resized picture that the central crop keeps; interpolation: PIL's
    name; crop_mode: resize the shorter side (`center`) or both sides (`squash`) to floor(S / crop_pct).
    """

    size: int
    crop_pct: float
    interpolation: str
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if self.crop_mode not in CROP_MODES:
            raise ConfigError(f"backbone.name: its crop_mode {self.crop_mode!r} is none of {', '.join(CROP_MODES)}")


def to_array(picture: Image.Image, size: PictureSize) -> NDArray[np.uint8]:
    """Resize and crop to uint8 [3, S, S].

    Grey, palette, CMYK and transparent pictures are converted by PIL's `convert("RGB")`, transparency is dropped,
    and the EXIF orientation is NOT applied: all as timm and torchvision's ImageFolder do.
    """
    scaled = math.floor(size.size / size.crop_pct)
    edges = [scaled, scaled] if size.crop_mode == "squash" else [scaled]
    resized = transforms.resize(picture.convert("RGB"), edges, InterpolationMode(size.interpolation))
    return np.asarray(transforms.center_crop(resized, [size.size, size.size])).transpose(2, 0, 1)
