"""A decoded picture at the model's size: timm's evaluation transform, up to its last uint8 value."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from hlgp_dist.types import PictureSize


def to_array(picture: Image.Image, size: PictureSize) -> NDArray[np.uint8]:
    """Resize and crop to uint8 [3, S, S].

    Grey, palette, CMYK and transparent pictures are converted by PIL's `convert("RGB")`, transparency is dropped,
    and the EXIF orientation is NOT applied: all as timm and torchvision's ImageFolder do.
    """
    scaled = math.floor(size.size / size.crop_pct)
    edges = [scaled, scaled] if size.crop_mode == "squash" else [scaled]
    resized = transforms.resize(picture.convert("RGB"), edges, InterpolationMode(size.interpolation))
    return np.asarray(transforms.center_crop(resized, [size.size, size.size])).transpose(2, 0, 1)
