"""A recipe's manifest: the samples by class and key, as of a shard folder, but without shards or bytes."""

from __future__ import annotations

import numpy as np

from hlgp_dist.data.manifest import Manifest, Split
from hlgp_dist.data.recipe import Recipe
from hlgp_dist.data.record import CHECKSUM_DIGITS


def drawn_manifest(recipe: Recipe) -> Manifest:
    """Classes are `class-00`, `class-01`, ...; a sample's size in bytes is 0, since it lies nowhere."""
    digits = len(str(recipe.classes - 1))
    classes = tuple(f"class-{index:0{digits}d}" for index in range(recipe.classes))
    counts = {"train": recipe.train_per_class, "test": recipe.test_per_class}
    splits = {name: _split(classes, count, recipe.size) for name, count in counts.items()}
    return Manifest(classes, splits, source_hash=recipe.digest, shard_bytes=0, digest=recipe.digest, recipe=recipe)


def _split(classes: tuple[str, ...], count: int, size: int) -> Split:
    samples = len(classes) * count
    nothing, side = np.zeros(samples, dtype=np.int64), np.full(samples, size, dtype=np.int32)
    return Split(
        shards=(),
        key=np.array([f"{name}-{index}".encode() for name in classes for index in range(count)]),
        class_index=np.repeat(np.arange(len(classes), dtype=np.int32), count),
        shard=nothing.astype(np.int32),
        offset=nothing,
        size=nothing,
        width=side,
        height=side,
        checksum=np.full(samples, b"0" * CHECKSUM_DIGITS),
        counts=np.full(len(classes), count, dtype=np.int64),
    )
