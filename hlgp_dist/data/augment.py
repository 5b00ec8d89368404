"""Random crop and flip of a whole batch on its device, drawn per sample from (seed, task, epoch, sample id).

So a sample looks the same whatever the batch, rank or worker it comes in. Normalisation belongs to the models.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.plan import stream_key

ASPECT_RATIOS = (3 / 4, 4 / 3)
_DRAWS = 5


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, 3, S, S] as float32 in 0 .. 1."""
    return images.to(torch.float32) / 255.0


def augment(
    images: Tensor, samples: Tensor, *, augmentation: Augmentation | None, seed: int, task: int, epoch: int
) -> Tensor:
    """uint8 [B, 3, S, S] as randomly cropped and flipped float32 [B, 3, S, S] in 0 .. 1, on the images' device.

    Args:
        images: the batch.
        samples: int64 [B], ids in the task's store, on the host: asking a device for them would stall it.
        augmentation: `None` only converts.
        seed: of the run.
        task: its index.
        epoch: within the task.
    """
    if augmentation is None:
        return to_float(images)
    assert samples.device.type == "cpu"
    boxes = torch.from_numpy(crop_boxes(samples.numpy(), augmentation, seed=seed, task=task, epoch=epoch))
    if images.device.type == "cuda":
        boxes = boxes.pin_memory()
    return _cropped(to_float(images), boxes.to(images.device, non_blocking=True))


def crop_boxes(
    samples: NDArray[np.int64], augmentation: Augmentation, *, seed: int, task: int, epoch: int
) -> NDArray[np.float32]:
    """Crops as float32 [B, 4]: centre x, centre y, half width, half height in grid_sample's -1 .. 1.

    Area uniform in [crop_scale, 1] of the picture, log aspect ratio uniform, a side that would exceed the picture
    cut to it, position uniform. A negative half width mirrors.
    """
    area, ratio, x, y, mirror = _uniforms(samples, seed=seed, task=task, epoch=epoch)
    area = augmentation.crop_scale + (1.0 - augmentation.crop_scale) * area
    low, high = (math.log(bound) for bound in ASPECT_RATIOS)
    aspect = np.exp(low + (high - low) * ratio)
    width = np.minimum(np.sqrt(area * aspect), 1.0)
    height = np.minimum(np.sqrt(area / aspect), 1.0)
    centre_x, centre_y = (2.0 * x - 1.0) * (1.0 - width), (2.0 * y - 1.0) * (1.0 - height)
    sign = np.where(augmentation.flip & (mirror < 0.5), -1.0, 1.0)
    return np.stack([centre_x, centre_y, sign * width, height], axis=1).astype(np.float32)


def _uniforms(samples: NDArray[np.int64], *, seed: int, task: int, epoch: int) -> NDArray[np.float64]:
    """float64 [draws, B] in [0, 1): SplitMix64 (Steele, Lea, Flood 2014), whose i-th output is a function of i."""
    key = stream_key(seed, task, epoch, 1).generate_state(1, np.uint64)
    counter = samples.astype(np.uint64) * np.uint64(_DRAWS) + np.arange(1, _DRAWS + 1, dtype=np.uint64)[:, None]
    z = key + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    uniforms: NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return uniforms


def _cropped(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Bilinear crops at the pictures' own size.

    The grid is built by broadcasting: `affine_grid` is a matrix product, whose rounding depends on the batch and,
    with TF32, on the device.
    """
    side = pictures.shape[-1]
    steps = (2.0 * torch.arange(side, device=pictures.device, dtype=torch.float32) + 1.0) / side - 1.0
    centre_x, centre_y, half_width, half_height = boxes.unbind(dim=1)
    x = centre_x[:, None] + half_width[:, None] * steps
    y = centre_y[:, None] + half_height[:, None] * steps
    shape = (-1, side, side)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
