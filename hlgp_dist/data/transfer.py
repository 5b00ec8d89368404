"""From the host to a device, never waiting for it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hlgp_dist.types import Batch, Regions


def sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array on `device`."""
    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def to_device(batch: Batch, device: str | torch.device) -> Batch:
    """The batch on `device`; ids and shapes stay on the host, where draws and sizes are needed."""
    if isinstance(batch.images, Regions):
        images: Tensor | Regions = Regions(batch.images.pixels.to(device, non_blocking=True), batch.images.shapes)
    else:
        images = batch.images.to(device, non_blocking=True)
    labels, weights = (tensor.to(device, non_blocking=True) for tensor in (batch.labels, batch.weights))
    return Batch(images, labels, batch.samples, weights)
