"""Weights of an antialiased resize along one side: the arithmetic of torch's uint8 CPU kernel, for many pictures.

Each of S new pixels is a weighted sum of neighbours under a filter as wide as the reduction, in fixed point: weights of
at most 15 bits, as many fractional bits as the picture's largest weight leaves.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlgp_dist.data.transfer import sent

REACH = {"bilinear": 1, "bicubic": 2}
"""Of the filter, in pixels of an enlarged picture."""
_LIMIT, _MOST_BITS = 2**15, 22
_KEPT = 2**10
"""Lengths whose taps a process remembers, tens of kB each: random crops come back to the same few hundred."""


class Taps(NamedTuple):
    """K neighbours of each of S new pixels of B pictures.

    first: int64 [B, S], the first one; weights: int32 [K, B, S], zero beyond a side's end; bits: int32 [B, 1], how many
    of the weights' bits are fractional.
    """

    first: Tensor
    weights: Tensor
    bits: Tensor


class _Side(NamedTuple):
    """Of one length: int64 [S], int32 [K, S] and a number."""

    first: NDArray[np.int64]
    weights: NDArray[np.int32]
    bits: int


def antialias_taps(lengths: Tensor, size: int, interpolation: str, device: torch.device) -> Taps:
    """Of sides of `lengths` (int64 [B], on the host) that become `size` long; K is that of the longest.

    Made on the host, since a device would launch a dozen kernels for each neighbour, more than a training step has.
    """
    sides = [_side(length, size, interpolation) for length in lengths.tolist()]
    weights = np.zeros((max(len(side.weights) for side in sides), len(sides), size), np.int32)
    for number, side in enumerate(sides):
        weights[: len(side.weights), number] = side.weights
    first, bits = np.stack([side.first for side in sides]), np.array([[side.bits] for side in sides], np.int32)
    return Taps(sent(first, device), sent(weights, device), sent(bits, device))


@lru_cache(_KEPT)
def _side(length: int, size: int, interpolation: str) -> _Side:
    reach, scale = REACH[interpolation], length / size
    widening = max(scale, 1.0)
    neighbours = np.arange(2 * math.ceil(reach * widening) + 1)[:, None]
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum((centre - reach * widening + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach * widening + 0.5).astype(np.int64), length)
    distance = np.abs((first + neighbours - centre + 0.5) * (1.0 / widening))
    return _fixed_point(first, _filter(interpolation, distance) * (first + neighbours < stop))


def _filter(interpolation: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    if interpolation == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, far) * (x < 2.0)


def _fixed_point(first: NDArray[np.int64], weights: NDArray[np.float64]) -> _Side:
    """weights: [K, S]; they are summed one after the other, as the kernel does."""
    weights = weights / sum(weights)
    powers = 2.0 ** np.arange(1, _MOST_BITS + 1)
    bits = int((np.trunc(weights.max() * powers + 0.5) < _LIMIT).sum())
    fixed = (weights * 2.0**bits + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)
    return _Side(first, fixed, bits)
