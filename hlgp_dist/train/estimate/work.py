"""How much a run has to do: steps, pictures, bytes. Pure counts from the configuration and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.crops import crop_boxes
from hlgp_dist.data.manifest import Manifest, Split
from hlgp_dist.data.picture import Form, stored_shape
from hlgp_dist.data.plan import steps_per_epoch
from hlgp_dist.data.selection import Part, Selection, sample, select, selected
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.data.uniforms import Key
from hlgp_dist.train.plan import TaskPlan
from hlgp_dist.types import PictureSize, TaskSpec


@dataclass(frozen=True)
class StageWork:
    """pictures: of its training part; trained: of all its steps, epochs counted; tested: after it, of all seen."""

    index: int
    classes: int
    pictures: int
    steps: int
    trained: int
    tested: int


@dataclass(frozen=True)
class DataWork:
    """Of all classes, once a host: bytes read of shards, pictures decoded, bytes stored on local disk.

    pixels: of each picture those of its file or those stored, whichever are more: what decoding and scaling go by;
    stores: bytes by what is stored, so that runs that share it can be seen to.
    """

    read: int
    decoded: int
    pixels: int
    stores: Mapping[str, int]

    @property
    def stored(self) -> int:
        """Bytes."""
        return sum(self.stores.values())


def stored_by_all(works: Iterable[DataWork]) -> int:
    """Bytes on local disk of a host where all of them are run."""
    largest = Counter[str]()
    for work in works:
        largest |= Counter(work.stores)
    return largest.total()


def stage_works(config: RunConfig, manifest: Manifest, stages: Sequence[TaskSpec]) -> list[StageWork]:
    """Of every stage, in order."""
    tasks = split_tasks(manifest.classes, config.benchmark)
    whole = [selected(config, manifest, task, config.benchmark.evaluated_on) for task in tasks]
    tested, later = list(map(len, whole)), [_tested_later(config, manifest, each) for each in whole]
    works = []
    for stage in stages:
        pictures = len(selected(config, manifest, stage, "train"))
        seen = tested if stage.index == len(stages) - 1 else [*later[: stage.index], tested[stage.index]]
        steps, trained = _steps(config, pictures)
        works.append(StageWork(stage.index, len(stage.classes), pictures, steps, trained, sum(seen)))
    return works


def _tested_later(config: RunConfig, manifest: Manifest, whole: Selection) -> int:
    """Pictures of a task in each test between its own and the last."""
    fraction = config.evaluation.old_task_fraction
    return len(whole if fraction is None else sample(manifest, whole, fraction))


def _steps(config: RunConfig, pictures: int) -> tuple[int, int]:
    """Of a stage: its steps, and the pictures in them."""
    if not config.method.takes_gradients:
        return 0, 0
    batch, steps = config.train.global_batch_size, TaskPlan.of(config, pictures, 1).total_steps
    epochs, rest = divmod(steps, steps_per_epoch(pictures, batch))
    return steps, epochs * pictures + min(rest * batch, pictures)


def data_work(config: RunConfig, manifest: Manifest, stages: Sequence[TaskSpec], size: PictureSize) -> DataWork:
    """Whole classes are decoded: whatever part of their training pictures counts, or validates."""
    forms: dict[Part, set[Form]] = {"train": {config.data.stored}, "test": {"scaled"}}
    if config.benchmark.evaluated_on == "validation":
        forms = {"train": {config.data.stored, "scaled"}, "test": set()}
    found, stores = [], Counter[str]()
    for split, form in [(split, form) for split, chosen in forms.items() for form in sorted(chosen)]:
        name = " ".join([split, form, *([str(size)] if form == "scaled" else []), manifest.digest])
        for stage in stages:
            *counts, stored = _decoded(manifest.splits[split], select(manifest, stage, split, 0.0).indices, size, form)
            found.append(counts)
            stores[name] += stored
    read, decoded, pixels = (sum(column) for column in zip(*found, strict=True))
    return DataWork(read, decoded, pixels, dict(stores))


def _decoded(split: Split, indices: NDArray[np.int64], size: PictureSize, form: Form) -> tuple[int, int, int, int]:
    width, height = split.width[indices], split.height[indices]
    stored = np.stack(stored_shape(width, height, size, form), axis=1)
    pixels = np.maximum(width.astype(np.int64) * height, stored.prod(axis=1))
    return int(split.size[indices].sum()), len(indices), int(pixels.sum()), int(3 * stored.prod(axis=1).sum())


def seen_shapes(
    config: RunConfig, manifest: Manifest, stage: TaskSpec, size: PictureSize, count: int
) -> NDArray[np.int64]:
    """int64 [count, 2]: heights and widths of the parts that a first batch of a stage sees."""
    chosen = selected(config, manifest, stage, "train").indices
    indices = np.resize(chosen, count)
    split, options = manifest.splits["train"], config.data.augmentation
    if options is None:
        return np.full((count, 2), size.size, dtype=np.int64)
    stored = np.stack(stored_shape(split.width[indices], split.height[indices], size, config.data.stored), axis=1)
    return crop_boxes(np.arange(count), stored, crop_scale=options.crop_scale, key=Key(config.seed, stage.index, 0))[
        :, 2:
    ]
