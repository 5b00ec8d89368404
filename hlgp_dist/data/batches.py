"""Pictures as the batches of one rank, copied ahead by threads.

Legend: B samples of a share, S pixels of a side, W ranks, A micro-steps a step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.crops import crop_boxes
from hlgp_dist.data.loading import Loading, regions, whole_pictures
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import Indices, epoch_order, evaluation_chunks, global_batch_of, shares
from hlgp_dist.data.prefetch import Work, prefetch
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import Batch, Regions, World

PREFETCHED_STEPS = 2


def training_batches(
    pictures: Pictures,
    *,
    augmentation: Augmentation | None,
    seed: int,
    task: int,
    steps: Iterable[int],
    global_batch_size: int,
    world: World,
    accumulation: int,
    loading: Loading,
) -> Generator[list[Batch], None, None]:
    """This rank's micro-batches [A] of each of the `steps` of a task, counted through its epochs.

    With an augmentation they hold regions, see `crop_boxes`; else whole pictures as evaluated.

    Every real sample weighs W * A / len(global batch), so that an engine which averages over ranks and micro-steps
    gets the exact mean over the global batch out of `sum(weights * loss)`. An empty share yields one placeholder
    of weight 0. The tensors are on the host, in pinned memory for a GPU.
    """
    assert len(pictures) > 0
    order_of = lru_cache(maxsize=1)(lambda epoch: epoch_order(seed, task, epoch, len(pictures)))

    def step_work(step: int) -> Work[list[Batch]]:
        whole = global_batch_of(step, len(pictures), global_batch_size)
        samples = order_of(whole.epoch)[whole.start : whole.stop]
        weight = world.size * accumulation / whole.size
        boxes_of = partial(_boxes, pictures, augmentation, Key(seed, task, whole.epoch))
        own = shares(samples, world.rank, world.size, accumulation)
        works = [_work(pictures, share, boxes_of, weight=weight, loading=loading) for share in own]
        return Work([work.result for work in works], [job for work in works for job in work.jobs])

    return prefetch(step_work, steps, depth=PREFETCHED_STEPS, workers=loading.workers)


def evaluation_batches(
    pictures: Pictures, *, world: World, batch_size: int, loading: Loading
) -> Generator[Batch, None, None]:
    """This rank's part of the pictures, as evaluated, each once with weight 1.

    Every rank yields equally many batches; one without a sample holds a placeholder of weight 0.
    """
    assert len(pictures) > 0
    chunks = evaluation_chunks(len(pictures), world.size, batch_size)[world.rank]
    work = partial(_work, pictures, boxes_of=lambda samples: None, weight=1.0, loading=loading)
    for batch in prefetch(work, chunks, depth=PREFETCHED_STEPS, workers=loading.workers):
        loading.beat()
        yield batch


def _boxes(pictures: Pictures, augmentation: Augmentation | None, key: Key, samples: Indices) -> Indices | None:
    if augmentation is None:
        return None
    return crop_boxes(samples, pictures.shapes[samples], crop_scale=augmentation.crop_scale, key=key)


def _work(
    pictures: Pictures,
    samples: Indices,
    boxes_of: Callable[[Indices], Indices | None],
    *,
    weight: float,
    loading: Loading,
) -> Work[Batch]:
    """A batch and the jobs, one a worker, that copy its pictures: regions of them, or whole where there is no box.

    The placeholder is a real picture, so that nothing in it can become NaN.
    """
    if len(samples) == 0:
        samples, weight = np.zeros(1, dtype=np.int64), 0.0
    boxes = boxes_of(samples)
    images: Tensor | Regions
    if boxes is None:
        images, copy = whole_pictures(pictures, samples, loading)
    else:
        images, copy = regions(pictures, samples, boxes, loading)
    weights = torch.full((len(samples),), weight, dtype=torch.float32)
    labels, ids = torch.from_numpy(pictures.labels[samples]), torch.from_numpy(samples.copy())
    if loading.pin:
        labels, weights = labels.pin_memory(), weights.pin_memory()
    parts = np.array_split(np.arange(len(samples)), max(1, loading.workers))
    return Work(Batch(images, labels, ids, weights), [partial(copy, part) for part in parts if len(part)])
