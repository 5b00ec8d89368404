"""Regions of pictures to S x S, antialiased, as torchvision's resize of each.

On a CPU torch's uint8 kernel takes one picture at a time. An accelerator takes the whole batch by the same arithmetic
(see `taps`); sizes come from the host, so that nothing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.taps import Taps, antialias_taps
from hlgp_dist.data.transfer import sent
from hlgp_dist.types import Regions

ROWS_AT_ONCE = 2**15
"""Of several regions together, in one pass of an accelerator: with S it bounds the memory of a pass."""


def resized(regions: Regions, size: int, interpolation: str, memory: Memory | None = None) -> Tensor:
    """uint8 [B, 3, S, S] on the regions' device, a view of [B, S, S, 3]; interpolation: `bilinear` or `bicubic`."""
    if regions.pixels.device.type == "cpu":
        return resized_each(regions, size, interpolation, memory or Memory())
    return resized_together(regions, size, interpolation)


def resized_each(regions: Regions, size: int, interpolation: str, memory: Memory) -> Tensor:
    """See `resized`; picture by picture on a CPU, by as many threads as torch has, bit for bit as torchvision."""
    images = memory.images.empty(3 * size * size * len(regions.shapes)).view(len(regions.shapes), size, size, 3)
    out = images.numpy()
    pictures = regions.pixels.split((3 * regions.shapes.prod(1)).tolist())
    shapes = regions.shapes.tolist()

    def resize(indices: NDArray[np.int64]) -> None:
        for index in indices.tolist():
            picture = pictures[index].view(1, *shapes[index], 3).permute(0, 3, 1, 2)
            small = functional.interpolate(picture, size=(size, size), mode=interpolation, antialias=True)
            out[index] = small[0].permute(1, 2, 0).numpy()  # a copy by torch would take threads of its own

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, thread_name_prefix="resize") as pool:
        deque(pool.map(resize, np.array_split(np.arange(len(out)), threads)), maxlen=0)
    return images.permute(0, 3, 1, 2)


def resized_together(regions: Regions, size: int, interpolation: str) -> Tensor:
    """See `resized`; all pictures by gathers, elementwise, so that neighbours cannot change a bit of one."""
    pixels, lengths = regions.pixels.view(-1, 3), regions.shapes.prod(1)
    starts = lengths.cumsum(0) - lengths
    parts = [
        _resized_part(pixels, starts[part], regions.shapes[part], size, interpolation)
        for part in _parts(regions.shapes[:, 0].tolist())
    ]
    return torch.cat(parts).permute(0, 3, 1, 2)


def _parts(heights: list[int]) -> Iterator[slice]:
    """Neighbours: of at most ROWS_AT_ONCE rows together, or alone."""
    first, rows = 0, 0
    for index, height in enumerate(heights):
        if index > first and rows + height > ROWS_AT_ONCE:
            yield slice(first, index)
            first, rows = index, 0
        rows += height
    yield slice(first, len(heights))


def _resized_part(pixels: Tensor, starts: Tensor, shapes: Tensor, size: int, interpolation: str) -> Tensor:
    """uint8 [b, S, S, 3]: the R rows of all regions become S wide, then S rows are made of each region's.

    Args:
        pixels: uint8 [P, 3].
        starts: int64 [b], where each region starts in `pixels`, on the host.
        shapes: int64 [b, 2], on the host.
        size: S.
        interpolation: see `resized`.
    """
    heights, widths = shapes.numpy().T
    first_row = np.cumsum(heights) - heights
    picture = np.repeat(np.arange(len(heights)), heights)
    row_start = starts.numpy()[picture] + (np.arange(len(picture)) - first_row[picture]) * widths[picture]
    of_rows, of_pictures = sent(np.stack([picture, row_start]), pixels.device), sent(first_row, pixels.device)
    across = antialias_taps(shapes[:, 1], size, interpolation, pixels.device)
    weights = (weight[of_rows[0]] for weight in across.weights)
    starts_across = of_rows[1][:, None] + across.first[of_rows[0]]
    wide = _weighted(_padded(pixels, across), starts_across, weights, across.bits[of_rows[0]])
    down = antialias_taps(shapes[:, 0], size, interpolation, pixels.device)
    return _weighted(_padded(wide, down), of_pictures[:, None] + down.first, down.weights, down.bits)


def _padded(source: Tensor, taps: Taps) -> Tensor:
    """With room behind the last region's end, where weights are zero."""
    return torch.cat([source, source.new_zeros(len(taps.weights), *source.shape[1:])])


def _weighted(source: Tensor, first: Tensor, weights: Iterable[Tensor], bits: Tensor) -> Tensor:
    """uint8 [n, S, ...]: weighted sums of neighbours in `source` [m, ...] from `first` [n, S] on, in fixed point."""
    trailing = (1,) * (source.dim() - 1)
    bits = bits.view(-1, 1, *trailing)
    half = torch.bitwise_left_shift(torch.ones_like(bits), bits - 1)
    total = half.expand(*first.shape, *source.shape[1:]).clone()
    for neighbour, weight in enumerate(weights):
        total.addcmul_(weight.view(*weight.shape, *trailing), source[neighbour:][first])
    return (total >> bits).clamp_(0, 255).to(torch.uint8)
