"""How a trunk wants its pictures.

B batch, R pixels of a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hlgp_dist.types import PictureSize

_AT_ONCE = 8
"""Pictures: a few megabytes, which a CPU's caches hold from one operation to the next."""


@dataclass(frozen=True)
class InputFormat:
    """Size, and mean and deviation of each channel."""

    size: PictureSize
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Normalisation(nn.Module):
    """Pictures in 0 .. 1 to (x - mean) / std, channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, form: InputFormat, device: torch.device | str) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(form.mean, device=device).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(form.std, device=device).view(1, 3, 1, 1), persistent=False)
        self._pages = torch.empty(0)

    def forward(self, images: Tensor, dtype: torch.dtype, *, is_kept: bool = False) -> Tensor:
        """[B, 3, R, R] in `dtype` of float32 pictures, which stay as they are: a method may look at them twice.

        On a CPU, where fresh pages cost several times the arithmetic, the next call overwrites what this one gave,
        unless it `is_kept`, or is being compiled, where memory is not ours to plan.
        """
        if is_kept or images.device.type != "cpu" or torch.compiler.is_compiling():
            return (images - self.mean).div_(self.std).to(dtype)
        out = self._reused(images, dtype)
        for part, pixels in zip(images.split(_AT_ONCE), out.split(_AT_ONCE), strict=True):
            floats = pixels if dtype == part.dtype else torch.empty_like(part)
            pixels.copy_(torch.sub(part, self.mean, out=floats).div_(self.std))
        return out

    def _reused(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        if self._pages.dtype != dtype or self._pages.numel() < images.numel():
            self._pages = torch.empty(images.numel(), dtype=dtype)
        return self._pages[: images.numel()].view(images.shape)
