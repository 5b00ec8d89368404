"""Pictures as the batches of one rank, copied a step ahead by a thread.

Legend: B samples of a share, W ranks, A micro-steps a step.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
import torch

from hlgp_dist.data.picture import as_evaluated
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import Indices, epoch_order, evaluation_chunks, shares, steps_per_epoch
from hlgp_dist.data.prefetch import prefetch
from hlgp_dist.types import Batch, World

PREFETCHED_STEPS = 2


def training_batches(
    pictures: Pictures,
    *,
    seed: int,
    task: int,
    epoch: int,
    global_batch_size: int,
    world: World,
    accumulation: int,
    start_step: int = 0,
    device: str = "cpu",
) -> Generator[list[Batch], None, None]:
    """This rank's micro-batches [A] of each step of an epoch, from `start_step` on.

    Every real sample weighs W * A / len(global batch), so that an engine which averages over ranks and micro-steps
    gets the exact mean over the global batch out of `sum(weights * loss)`. An empty share yields one placeholder
    of weight 0. The tensors are on the host, in pinned memory where `device` is a GPU.
    """
    assert len(pictures) > 0
    order = epoch_order(seed, task, epoch, len(pictures))
    pin = device.startswith("cuda")

    def batches_of(step: int) -> list[Batch]:
        batch = order[step * global_batch_size : (step + 1) * global_batch_size]
        weight = world.size * accumulation / len(batch)
        own = (micro_step[world.rank] for micro_step in shares(batch, world.size, accumulation))
        return [_batch(pictures, samples, weight=weight, pin=pin) for samples in own]

    steps = range(start_step, steps_per_epoch(len(pictures), global_batch_size))
    return prefetch(batches_of, steps, depth=PREFETCHED_STEPS)


def evaluation_batches(
    pictures: Pictures, *, world: World, batch_size: int, device: str = "cpu"
) -> Generator[Batch, None, None]:
    """This rank's part of the pictures, each sample of it once with weight 1.

    Every rank yields equally many batches; one without a sample holds a placeholder of weight 0.
    """
    assert len(pictures) > 0
    chunks = evaluation_chunks(len(pictures), world.size, batch_size)[world.rank]
    return prefetch(
        partial(_batch, pictures, weight=1.0, pin=device.startswith("cuda")), chunks, depth=PREFETCHED_STEPS
    )


def to_device(batch: Batch, device: str | torch.device) -> Batch:
    """The batch on `device` without waiting for it; the sample ids stay on the host, where `augment` needs them."""
    images, labels, weights = (
        tensor.to(device, non_blocking=True) for tensor in (batch.images, batch.labels, batch.weights)
    )
    return Batch(images, labels, batch.samples, weights)


def _batch(pictures: Pictures, samples: Indices, *, weight: float, pin: bool) -> Batch:
    """Copies of the samples. The placeholder is a real picture, so that nothing in it can become NaN."""
    if len(samples) == 0:
        samples, weight = np.zeros(1, dtype=np.int64), 0.0
    size = pictures.size
    images = torch.empty((len(samples), size.size, size.size, 3), dtype=torch.uint8, pin_memory=pin)
    pixels = images.numpy()
    for position, sample in enumerate(samples):
        pixels[position] = as_evaluated(pictures[sample], size, pictures.form)
    images = images.permute(0, 3, 1, 2)
    weights = torch.full((len(samples),), weight, dtype=torch.float32)
    rest = (torch.from_numpy(pictures.labels[samples]), torch.from_numpy(samples.copy()), weights)
    labels, ids, weights = (tensor.pin_memory() if pin else tensor for tensor in rest)
    return Batch(images, labels, ids, weights)
