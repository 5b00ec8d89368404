"""This project's way of a picture, by what a run itself calls: shard, library, batches, device, augmentation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from torch import Tensor

from hlgp_dist.bench.workload import MODES, Finished, Mode, Workload
from hlgp_dist.data.augment import augment
from hlgp_dist.data.batches import evaluation_batches, training_batches
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import steps_per_epoch
from hlgp_dist.data.transfer import to_device
from hlgp_dist.data.uniforms import Key
from hlgp_dist.models.input import Normalisation
from hlgp_dist.types import Batch, World

TRAINING: Mode = "crop and flip"


class Feed:
    """Batches of one selection, made as a run makes them; the same buffers for all epochs."""

    def __init__(self, work: Workload, pictures: Pictures) -> None:
        self._work, self._pictures = work, pictures
        self._loading = Loading(work.device, work.workers)

    def training(self, epoch: int, mode: Mode = TRAINING) -> Iterator[Batch]:
        """On the host, each a step."""
        per_epoch = steps_per_epoch(len(self._pictures), self._work.batch_size)
        steps = training_batches(
            self._pictures,
            augmentation=MODES[mode],
            seed=0,
            task=0,
            steps=range(epoch * per_epoch, (epoch + 1) * per_epoch),
            global_batch_size=self._work.batch_size,
            world=World(),
            accumulation=1,
            loading=self._loading,
        )
        return (batch for (batch,) in steps)

    def evaluation(self) -> Iterator[Batch]:
        """On the host."""
        size, world = self._work.batch_size, World()
        return evaluation_batches(self._pictures, world=world, batch_size=size, loading=self._loading)


def on_device(work: Workload, batch: Batch, epoch: int, mode: Mode = TRAINING) -> Tensor:
    """float32 [B, 3, S, S] in 0 .. 1, as a step takes it."""
    sent, key = to_device(batch, work.device), Key(0, 0, epoch)
    augmentation, memory = MODES[mode], work.memory
    return augment(sent.images, sent.samples, size=work.form.size, augmentation=augmentation, key=key, memory=memory)


class Warm:
    """Pictures that are decoded already: epochs after the first."""

    def __init__(self, work: Workload, pictures: Pictures, mode: Mode) -> None:
        self._work, self._mode, self._feed = work, mode, Feed(work, pictures)
        self._normalisation = Normalisation(work.form, work.device)

    def epoch(self, number: int) -> Iterator[Finished]:
        is_training = MODES[self._mode] is not None
        for batch in self._feed.training(number, self._mode) if is_training else self._feed.evaluation():
            images = on_device(self._work, batch, number, self._mode)
            yield Finished(self._normalisation(images, images.dtype), batch.samples)

    def close(self) -> None:
        pass


class Cold:
    """First epochs: each begins with an empty cache, decodes, stores, and trains."""

    def __init__(self, work: Workload, folder: Path) -> None:
        self._work, self._folder = work, folder

    def epoch(self, number: int) -> Iterator[Finished]:
        self.close()
        return self._epoch(number)

    def _epoch(self, number: int) -> Iterator[Finished]:
        with closing(open_library(self._work, self._folder)) as library:
            pictures = library.open(self._work.selection, self._work.stored)
            yield from Warm(self._work, pictures, TRAINING).epoch(number)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def open_library(work: Workload, cache: Path) -> Library:
    """An own one, so that its counts are of one pass."""
    place, workers = open_place(work.shards), max(1, work.workers)
    return Library(place, work.manifest, work.form.size, Cache(cache, None), workers=workers)
