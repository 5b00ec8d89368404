"""The feature stream a method sees at a task's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hlgp_dist.data.augment import to_float
from hlgp_dist.data.batches import evaluation_batches
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.transfer import to_device
from hlgp_dist.engine.collectives import reduce_sum
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.types import TaskSpec, World


@dataclass(frozen=True)
class TaskStream:
    """The task's training pictures, un-augmented, each once, shared among the ranks."""

    pictures: Pictures
    task: TaskSpec
    world: World
    device: str
    batch_size: int
    loading: Loading

    @torch.no_grad()
    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        """See FeatureStream."""
        batches, num_classes = self._features(features), len(self.task.classes)
        return class_statistics(batches, num_classes, width, spread, reduce_sum, self.device)

    def _features(self, features: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        batches = evaluation_batches(self.pictures, world=self.world, batch_size=self.batch_size, loading=self.loading)
        for batch in batches:
            images = to_device(batch, self.device).images
            assert isinstance(images, Tensor)
            seen = features(to_float(images, self.loading.memory))
            if batch.weights.any():  # a placeholder has none
                yield seen, batch.labels - self.task.start
