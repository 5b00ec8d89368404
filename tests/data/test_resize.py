"""Regions are resized as torchvision resizes each, and alike by the way an accelerator takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import functional as torchvision

from hlgp_dist.data import resize
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.resize import resized, resized_each, resized_together
from hlgp_dist.types import Regions
from tests.pictures import noise

SIZE = 24
SHAPES = [(24, 24), (31, 50), (7, 90), (90, 7), (1, 1), (1, 40), (300, 26), (25, 24), (24, 200)]
MODES = ("bilinear", "bicubic")
STEP = 1
"""Of 255, how far an accelerator's may be; the arithmetic is the same but for the rounding of the filter."""


def regions_of(shapes: list[tuple[int, int]]) -> Regions:
    """The first ones are noise, which overshoots, the last one is white."""
    pictures = [*noise(shapes[:-1]), np.full((*shapes[-1], 3), 255, dtype=np.uint8)]
    flat = np.concatenate([picture.ravel() for picture in pictures])
    return Regions(torch.from_numpy(flat), torch.tensor(shapes))


def pictures_in(regions: Regions) -> list[Tensor]:
    """uint8 [3, H, W] each."""
    parts = regions.pixels.split((3 * regions.shapes.prod(1)).tolist())
    return [
        part.view(height, width, 3).permute(2, 0, 1)
        for part, (height, width) in zip(parts, regions.shapes.tolist(), strict=True)
    ]


@pytest.mark.parametrize("mode", MODES)
def test_on_a_cpu_each_is_torchvisions(mode: str) -> None:
    regions = regions_of(SHAPES)
    out = resized(regions, SIZE, mode)
    expected = [
        torchvision.resize(picture, [SIZE, SIZE], torchvision.InterpolationMode(mode), antialias=True)
        for picture in pictures_in(regions)
    ]
    assert out.dtype == torch.uint8
    assert torch.equal(out, torch.stack(expected))


class Kernels(TorchDispatchMode):
    """How many operations inside a device would start a kernel for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def test_an_accelerator_starts_a_few_kernels_a_neighbour() -> None:
    """A batch of ViT-B's training step has some 770: by a loop on the device the taps alone would have as many."""
    shapes = [(375 - 9 * number, 500 - 7 * number) for number in range(16)]
    neighbours = 9 + 11  # of heights and widths, by bicubic's reach of two pixels of a smaller picture
    regions = regions_of(shapes)
    with Kernels() as kernels:
        resized_together(regions, 224, "bicubic")
    assert kernels.count < 7 * neighbours


@pytest.mark.parametrize("size", [SIZE, 17])
@pytest.mark.parametrize("mode", MODES)
def test_together_is_the_same_as_each(mode: str, size: int) -> None:
    regions = regions_of(SHAPES)
    each, together = resized_each(regions, size, mode, Memory()), resized_together(regions, size, mode)
    assert together.dtype == torch.uint8
    assert together.shape == each.shape
    assert (each.int() - together.int()).abs().max() <= STEP
    assert (each != together).float().mean() < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_neighbours_and_passes_change_no_bit(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = regions_of(SHAPES)
    whole = resized_together(regions, SIZE, mode)
    for picture, shape, expected in zip(pictures_in(regions), regions.shapes, whole, strict=True):
        alone = Regions(picture.permute(1, 2, 0).flatten(), shape[None])
        assert torch.equal(resized_together(alone, SIZE, mode)[0], expected)
    monkeypatch.setattr(resize, "ROWS_AT_ONCE", 60)
    assert torch.equal(resized_together(regions, SIZE, mode), whole)
