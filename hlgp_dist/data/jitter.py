"""Colour jitter of a batch on its device: torchvision's ColorJitter on float pictures, drawn per sample.

Every step is one rounded operation on each value and the one sum is of integers, so a picture's result depends
neither on its neighbours nor on the number of threads. Legend: b pictures, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlgp_dist.config.schema import Jitter
from hlgp_dist.data.transfer import sent
from hlgp_dist.data.uniforms import JITTER_FACTORS, JITTER_ORDER, Key, uniforms

GRAY = (0.2989, 0.587, 0.114)
_UNIT = 2.0**22
"""Of the sum of grey values: far finer than a step of colour, and their sum is exact in a double."""


class Plan(NamedTuple):
    """What happens to each of B pictures in each of K stages, on the host.

    operations: int64 [K, B], indices into OPERATIONS; factors: float32 [K, B].
    """

    operations: NDArray[np.int64]
    factors: NDArray[np.float32]


def plan(samples: NDArray[np.int64], jitter: Jitter, key: Key) -> Plan:
    """Every order is equally likely; a factor is uniform in [max(0, 1 - x), 1 + x], hue's in [-x, x] of a turn.

    Args:
        samples: int64 [B], ids in the task's pictures.
        jitter: the x of each; an operation whose x is zero is left out.
        key: of the epoch.
    """
    reach = np.array([jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue])[:, None]
    centre, least = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, -0.5]])[:, :, None]
    low = np.maximum(centre - reach, least)
    factors = low + (centre + reach - low) * uniforms(samples, JITTER_FACTORS, key)
    used = np.flatnonzero(reach)
    operations = used[np.argsort(uniforms(samples, JITTER_ORDER, key)[used], axis=0, kind="stable")]
    return Plan(operations, np.take_along_axis(factors, operations, axis=0).astype(np.float32))


def jitter_(images: Tensor, steps: Plan) -> None:
    """Change contiguous float32 [B, 3, S, S] in 0 .. 1 in place."""
    (jitter_each_ if images.device.type == "cpu" else jitter_together_)(images, steps)


def jitter_each_(images: Tensor, steps: Plan) -> None:
    """See `jitter_`; picture by picture on a CPU, so that its planes stay in the core's cache."""
    factors = torch.from_numpy(steps.factors)[:, :, None, None, None, None]
    for index, operations in enumerate(steps.operations.T.tolist()):
        for stage, operation in enumerate(operations):
            OPERATIONS[operation](images[index : index + 1], factors[stage, index])


def jitter_together_(images: Tensor, steps: Plan) -> None:
    """See `jitter_`; in each stage the pictures that have the same operation go together."""
    by_operation = np.argsort(steps.operations, axis=1, kind="stable")
    pictures = sent(by_operation, images.device)
    factors = sent(np.take_along_axis(steps.factors, by_operation, axis=1), images.device)[:, :, None, None, None]
    for stage, operations in enumerate(steps.operations):
        start = 0
        for operation, count in enumerate(np.bincount(operations).tolist()):
            if count:
                own = pictures[stage, start : start + count]
                changed = images[own]
                OPERATIONS[operation](changed, factors[stage, start : start + count])
                images.index_copy_(0, own, changed)
                start += count


def brightness_(images: Tensor, factor: Tensor) -> None:
    """Like the rest: float32 [b, 3, S, S] in place, a factor [b, 1, 1, 1] each."""
    images.mul_(factor).clamp_(0.0, 1.0)


def contrast_(images: Tensor, factor: Tensor) -> None:
    """Away from the mean grey of the picture, or towards it."""
    _blend_(images, _mean(_gray(images)), factor)


def saturation_(images: Tensor, factor: Tensor) -> None:
    """Away from each pixel's grey, or towards it."""
    _blend_(images, _gray(images), factor)


def hue_(images: Tensor, factor: Tensor) -> None:
    """Turn each pixel's hue in HSV by `factor` of a circle; value and chroma stay.

    With the hue H in sixths of the circle from red, chroma C and least channel m: |H - 3| = 2 + (r - g - b + m) / C,
    and H > 3 where b > g. Back again, red is m + C clamp(|H - 3| - 1, 0, 1), green (at 2) and blue (at 4) are m + C
    less C times such a trapezoid around their opposites. No branches, which cost torch more than arithmetic.
    """
    red, green, blue = images.unbind(1)
    most = torch.maximum(red, green).maximum(blue)
    least = torch.minimum(red, green).minimum(blue)
    chroma = most - least
    from_cyan = (red - green).add_(least - blue).div_(chroma.clamp_min(1e-20)).add_(2.0)  # of a grey pixel: anything
    hue = from_cyan.copysign_(blue - green).add_(6.0 * factor[:, 0])
    hue -= torch.mul(hue, 1.0 / 6.0).round_().mul_(6.0)
    red.copy_(hue)
    torch.add(hue, 1.0, out=green)
    torch.sub(hue, 1.0, out=blue)
    images.abs_().sub_(1.0).clamp_(0.0, 1.0).mul_(chroma[:, None])
    red += least
    torch.sub(most[:, None], images[:, 1:], out=images[:, 1:])


OPERATIONS: tuple[Callable[[Tensor, Tensor], None], ...] = (brightness_, contrast_, saturation_, hue_)


def _gray(images: Tensor) -> Tensor:
    """[b, 1, S, S]."""
    red, green, blue = images.split(1, dim=1)
    gray: Tensor = red * GRAY[0]
    return gray.add_(green * GRAY[1]).add_(blue * GRAY[2])


def _mean(gray: Tensor) -> Tensor:
    """[b, 1, 1, 1], in fixed point: the order of a sum of floats would be the device's choice. Changes its argument."""
    total = gray.mul_(_UNIT).floor_().sum((1, 2, 3), keepdim=True, dtype=torch.float64)
    return (total / (_UNIT * gray[0].numel())).to(torch.float32)


def _blend_(images: Tensor, other: Tensor, factor: Tensor) -> None:
    images.mul_(factor).add_(other.mul_(1.0 - factor)).clamp_(0.0, 1.0)
