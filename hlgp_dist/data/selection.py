"""Which samples of a shard folder a task trains, validates or tests on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.manifest import Manifest, Split
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.types import TaskSpec

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Selection:
    """N samples of one split. A sample's position in it is its id in the task's store.

    indices: int64 [N], ascending, into the manifest's split; labels: int64 [N], in stream order; bytes: of their
    whole records.
    """

    split: str
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    bytes: int

    def __len__(self) -> int:
        return len(self.indices)


def selected(config: RunConfig, manifest: Manifest, task: TaskSpec, part: Part) -> Selection:
    """`select` as a configuration says."""
    return select(manifest, task, part, config.benchmark.validation_fraction, config.data.train_fraction)


def select(
    manifest: Manifest, task: TaskSpec, part: Part, validation_fraction: float, train_fraction: float = 1.0
) -> Selection:
    """The samples of `task` for `part`.

    Of each training class round(train_fraction * n) pictures count, but at least 1: those whose keys hash highest, so
    that it is the same for every seed, order and task size. The validation part is those of them that hash lowest:
    round(validation_fraction * n) of n, but at least 1 and at most n - 1. So what a smaller part leaves to train on
    lies in what a larger one does.

    Raises:
        ConfigError: a validation part is asked for and `validation_fraction` is 0.
        DataError: a class is unknown or has no picture (for a validation part: fewer than two).
    """
    if part == "validation" and validation_fraction <= 0.0:
        raise ConfigError(f"benchmark.validation_fraction={validation_fraction}: no validation part without it")
    name = "test" if part == "test" else "train"
    split = manifest.splits[name]
    chosen = []
    for label, class_name in enumerate(task.classes, start=task.start):
        indices = _of_class(manifest, name, class_name)
        if name == "train":
            indices = _kept(split, indices, train_fraction)
        if name == "train" and validation_fraction > 0.0:
            held_out = _held_out(split, indices, class_name, validation_fraction)
            indices = indices[held_out == (part == "validation")]
        chosen.append((indices, label))
    chosen.sort(key=lambda pair: int(pair[0][0]))
    indices = np.concatenate([indices for indices, _ in chosen])
    labels = np.concatenate([np.full(len(indices), label, dtype=np.int64) for indices, label in chosen])
    return Selection(name, indices, labels, int(split.size[indices].sum()))


def sample(manifest: Manifest, whole: Selection, fraction: float) -> Selection:
    """Of each class of a selection that part, round(fraction * n) of its n pictures but at least one.

    By a hash of the keys, as for `select`: the same for every seed and order, and a smaller part lies in a larger.
    """
    split = manifest.splits[whole.split]
    chosen = np.zeros(len(whole), dtype=np.bool_)
    for label in np.unique(whole.labels):
        of_class = np.flatnonzero(whole.labels == label)
        count = max(round(fraction * len(of_class)), 1)
        chosen[of_class] = _first(split, whole.indices[of_class], count)
    indices = whole.indices[chosen]
    return Selection(whole.split, indices, whole.labels[chosen], int(split.size[indices].sum()))


def check_pictures(
    manifest: Manifest, tasks: Sequence[TaskSpec], validation_fraction: float, train_fraction: float = 1.0
) -> None:
    """For the preflight: every class of the stream has what its training, validation and test need.

    Raises:
        DataError: naming the first class that lacks a training or a test picture, or cannot be split.
    """
    for class_name in (name for task in tasks for name in task.classes):
        train = _of_class(manifest, "train", class_name)
        _of_class(manifest, "test", class_name)
        if validation_fraction > 0.0:
            _num_held_out(_num_kept(len(train), train_fraction), class_name, validation_fraction)


def _of_class(manifest: Manifest, split: str, class_name: str) -> NDArray[np.int64]:
    """The class's samples, which are contiguous."""
    if class_name not in manifest.index_of:
        raise DataError(f"class {class_name!r} is not in the shard folder")
    samples = manifest.splits[split].of_class(manifest.index_of[class_name])
    if not len(samples):
        raise DataError(f"class {class_name!r} has no {'training' if split == 'train' else 'test'} picture")
    return samples


def _kept(split: Split, indices: NDArray[np.int64], train_fraction: float) -> NDArray[np.int64]:
    """Those of a class that count."""
    count = _num_kept(len(indices), train_fraction)
    return indices if count == len(indices) else indices[~_first(split, indices, len(indices) - count)]


def _num_kept(pictures: int, train_fraction: float) -> int:
    return max(round(train_fraction * pictures), 1)


def _held_out(
    split: Split, indices: NDArray[np.int64], class_name: str, validation_fraction: float
) -> NDArray[np.bool_]:
    """True for the samples of a class that validate."""
    return _first(split, indices, _num_held_out(len(indices), class_name, validation_fraction))


def _first(split: Split, indices: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """True for the `count` samples whose keys hash lowest."""
    hashes = [hashlib.sha256(key).digest() for key in split.key[indices].tolist()]
    first = np.zeros(len(indices), dtype=np.bool_)
    first[sorted(range(len(indices)), key=hashes.__getitem__)[:count]] = True
    return first


def _num_held_out(pictures: int, class_name: str, validation_fraction: float) -> int:
    if pictures < 2:
        raise DataError(
            f"class {class_name!r} has a single training picture, of those that data.train_fraction leaves; "
            f"benchmark.validation_fraction={validation_fraction} needs two"
        )
    return min(max(round(validation_fraction * pictures), 1), pictures - 1)
