"""From what a batch carries to the pictures a model sees, on the batch's device.

Normalisation belongs to the models.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.crops import mirrored
from hlgp_dist.data.jitter import jitter_, plan
from hlgp_dist.data.resize import resized
from hlgp_dist.data.transfer import sent
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import PictureSize, Regions

_AT_ONCE = 8
"""Pictures: a few megabytes, which a CPU's caches hold from one operation to the next."""


def to_float(images: Tensor, memory: Memory | None = None) -> Tensor:
    """uint8 [B, 3, S, S] as float32 in 0 .. 1, plane by plane: what follows is several times as fast then on a CPU.

    memory: there fresh pages take three times as long as the conversion.
    """
    if images.device.type != "cpu":
        return images.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    memory = memory or Memory()
    floats = memory.floats.empty(4 * images.numel()).view(torch.float32).view(images.shape)
    for out, part in zip(floats.split(_AT_ONCE), images.split(_AT_ONCE), strict=True):
        out.copy_(part).div_(255.0)
    return floats


def augment(
    images: Tensor | Regions,
    samples: Tensor,
    *,
    size: PictureSize,
    augmentation: Augmentation | None,
    key: Key,
    memory: Memory | None = None,
) -> Tensor:
    """Float32 [B, 3, S, S] in 0 .. 1: regions resized, flipped and jittered; whole pictures only converted.

    Args:
        images: of the batch; whole ones where there is no augmentation.
        samples: int64 [B], ids in the task's pictures, on the host: asking a device for them would stall it.
        size: S, and how to interpolate.
        augmentation: the batch's.
        key: of the epoch.
        memory: to be used again by the next batch on a CPU.
    """
    if isinstance(images, Tensor):
        assert augmentation is None, "an augmentation begins with a region"
        return to_float(images, memory)
    assert augmentation is not None
    assert samples.device.type == "cpu"
    ids = samples.numpy()
    whole = resized(images, size.size, size.interpolation, memory)
    if augmentation.flip:
        whole = _flipped(whole, mirrored(ids, key))
    planes = to_float(whole, memory)
    if augmentation.jitter is not None:
        jitter_(planes, plan(ids, augmentation.jitter, key))
    return planes


def _flipped(images: Tensor, is_mirrored: NDArray[np.bool_]) -> Tensor:
    """Left for right where mirrored. On a CPU in place, one by one."""
    if images.device.type != "cpu":
        return torch.where(sent(is_mirrored, images.device)[:, None, None, None], images.flip(-1), images)
    for index in np.flatnonzero(is_mirrored).tolist():
        images[index] = images[index : index + 1].flip(-1)[0]
    return images
