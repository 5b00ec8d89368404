"""Which part of a stored picture a training step sees: the law of torchvision's RandomResizedCrop, our draws."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.uniforms import CROP_PLACE, CROP_TRIES, MIRROR, Key, uniforms

ASPECT_RATIOS = (3 / 4, 4 / 3)

Integers = NDArray[np.int64]


def crop_boxes(samples: Integers, shapes: Integers, *, crop_scale: float, key: Key) -> Integers:
    """int64 [B, 4]: top, left, height, width in pixels of the stored picture.

    Area uniform in [crop_scale, 1] of the picture, log aspect ratio uniform, both tried up to ten times until the box
    fits, its place uniform; if none fits, the central box of the nearest allowed ratio.

    Args:
        samples: [B], ids in the task's pictures.
        shapes: [B, 2], their heights and widths as stored.
        crop_scale: the least area.
        key: of the epoch.
    """
    height, width = shapes[:, 0].copy(), shapes[:, 1].copy()
    heights, widths = _tried(samples, height * width, crop_scale, key)
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first, found = fits.argmax(0)[None], fits.any(0)
    central_height, central_width = _central(height, width)
    box_height = np.where(found, np.take_along_axis(heights, first, 0)[0], central_height)
    box_width = np.where(found, np.take_along_axis(widths, first, 0)[0], central_width)
    vertical, horizontal = uniforms(samples, CROP_PLACE, key)
    top = np.where(found, vertical * (height - box_height + 1), (height - box_height) // 2)
    left = np.where(found, horizontal * (width - box_width + 1), (width - box_width) // 2)
    return np.stack([top.astype(np.int64), left.astype(np.int64), box_height, box_width], axis=1)


def _tried(samples: Integers, area: Integers, crop_scale: float, key: Key) -> tuple[Integers, Integers]:
    """Heights and widths [tries, B], rounded half to even as Python rounds."""
    draws = uniforms(samples, CROP_TRIES, key)
    of_area, of_ratio = draws[: len(draws) // 2], draws[len(draws) // 2 :]
    target = area * (crop_scale + (1.0 - crop_scale) * of_area)
    low, high = (math.log(bound) for bound in ASPECT_RATIOS)
    ratio = np.exp(low + (high - low) * of_ratio)
    return np.rint(np.sqrt(target / ratio)).astype(np.int64), np.rint(np.sqrt(target * ratio)).astype(np.int64)


def _central(height: Integers, width: Integers) -> tuple[Integers, Integers]:
    """The largest box of an allowed ratio, [B] each."""
    narrow, wide = ASPECT_RATIOS
    ratio = width / height
    box_height = np.where(ratio < narrow, np.rint(width / narrow).astype(np.int64), height)
    box_width = np.where(ratio > wide, np.rint(height * wide).astype(np.int64), width)
    return box_height, box_width


def mirrored(samples: Integers, key: Key) -> NDArray[np.bool_]:
    """bool [B]: whether left and right change places, in half of all cases."""
    is_mirrored: NDArray[np.bool_] = uniforms(samples, MIRROR, key)[0] < 0.5
    return is_mirrored
