"""Weights of an antialiased resize along one side: the arithmetic of torch's uint8 CPU kernel, for many pictures.

Each of S new pixels is a weighted sum of neighbours under a filter as wide as the reduction, in fixed point: weights of
at most 15 bits, as many fractional bits as the picture's largest weight leaves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hlgp_dist.data.transfer import sent

REACH = {"bilinear": 1, "bicubic": 2}
"""Of the filter, in pixels of an enlarged picture."""
_LIMIT, _MOST_BITS = 2**15, 22


class Taps(NamedTuple):
    """K neighbours of each of S new pixels of B pictures.

    first: int64 [B, S], the first one; weights: K times int32 [B, S], zero beyond a side's end; bits: int32 [B, 1],
    how many of the weights' bits are fractional.
    """

    first: Tensor
    weights: list[Tensor]
    bits: Tensor


def antialias_taps(lengths: Tensor, size: int, interpolation: str, device: torch.device) -> Taps:
    """Of sides of `lengths` (int64 [B], on the host) that become `size` long; K is that of the longest."""
    reach = REACH[interpolation]
    most = 2 * math.ceil(reach * max(lengths.max().item() / size, 1.0)) + 1
    length = sent(lengths.numpy()[:, None], device)
    scale = length.to(torch.float64) / size
    centre = scale * (torch.arange(size, dtype=torch.float64, device=device) + 0.5)
    widening = scale.clamp_min(1.0)
    first = (centre - reach * widening + 0.5).to(torch.int64).clamp_min(0)
    stop = (centre + reach * widening + 0.5).to(torch.int64).minimum(length)
    weights = []
    for neighbour in range(most):
        distance = (first + neighbour - centre + 0.5) * (1.0 / widening)
        weights.append(_filter(interpolation, distance.abs()) * (first + neighbour < stop))
    return _fixed_point(first, weights)


def _filter(interpolation: str, x: Tensor) -> Tensor:
    if interpolation == "bilinear":
        return (1.0 - x).clamp_min(0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1.0, near, far) * (x < 2.0)


def _fixed_point(first: Tensor, weights: list[Tensor]) -> Taps:
    """Summed one after the other, so that K, which neighbours in the batch decide, changes no bit."""
    total, largest = torch.zeros_like(weights[0]), torch.zeros_like(weights[0])
    for weight in weights:
        total += weight
    for weight in weights:
        weight /= total
        torch.maximum(largest, weight, out=largest)
    powers = 2.0 ** torch.arange(1, _MOST_BITS + 1, dtype=torch.float64, device=total.device)
    bits = ((largest.amax(1, keepdim=True) * powers + 0.5).trunc() < _LIMIT).sum(1, keepdim=True)
    unit = torch.exp2(bits.to(torch.float64))
    fixed = [(weight * unit + torch.where(weight < 0, -0.5, 0.5)).to(torch.int32) for weight in weights]
    return Taps(first, fixed, bits.to(torch.int32))
