from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.selection import check_pictures, sample, select
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.shards.shard import shard
from hlgp_dist.types import TaskSpec

TASK = TaskSpec(index=1, start=4, classes=("dog", "ant", "cat"))


def test_labels_follow_the_stream_and_bytes_are_exact(shards: tuple[Path, Manifest]) -> None:
    manifest = shards[1]
    selection = select(manifest, TASK, "train", 0.0)
    split = manifest.splits["train"]
    names = [manifest.classes[index] for index in split.class_index[selection.indices]]
    assert [TASK.classes[label - TASK.start] for label in selection.labels] == names
    assert len(selection) == 12 + 9 + 2
    assert (np.diff(selection.indices) > 0).all()
    assert selection.bytes == split.size[np.isin(split.class_index, [0, 2, 3])].sum()


@pytest.mark.parametrize(("fraction", "held_out"), [(0.2, [2, 2, 1]), (0.01, [1, 1, 1]), (0.99, [11, 8, 1])])
def test_validation_is_a_stratified_part(shards: tuple[Path, Manifest], fraction: float, held_out: list[int]) -> None:
    manifest = shards[1]
    parts = {part: select(manifest, TASK, part, fraction) for part in ("train", "validation")}
    assert [int((parts["validation"].labels == label).sum()) for label in (5, 6, 4)] == held_out
    both = np.sort(np.concatenate([part.indices for part in parts.values()]))
    assert np.array_equal(both, select(manifest, TASK, "train", 0.0).indices)


def test_validation_depends_on_the_keys_alone(shards: tuple[Path, Manifest]) -> None:
    manifest = shards[1]
    alone = select(manifest, TaskSpec(0, 0, ("ant",)), "validation", 0.3)
    among = select(manifest, TASK, "validation", 0.3)
    assert np.array_equal(alone.indices, among.indices[among.labels == 5])


@pytest.mark.parametrize(("fraction", "kept"), [(1.0, [12, 9, 2]), (0.34, [4, 3, 1]), (0.01, [1, 1, 1])])
def test_a_part_of_the_training_pictures_is_stratified(
    shards: tuple[Path, Manifest], fraction: float, kept: list[int]
) -> None:
    manifest = shards[1]
    part = select(manifest, TASK, "train", 0.0, fraction)
    assert [int((part.labels == label).sum()) for label in (5, 6, 4)] == kept
    alone = select(manifest, TaskSpec(0, 0, ("ant",)), "train", 0.0, fraction)
    assert np.array_equal(alone.indices, part.indices[part.labels == 5]), "whatever the task"
    assert len(select(manifest, TASK, "test", 0.0, fraction)) == 9, "all that there are"


@pytest.mark.parametrize("validation", [0.0, 0.2, 0.5])
def test_a_smaller_part_lies_in_a_larger_one_and_validates_on_none_that_either_trains_on(
    shards: tuple[Path, Manifest], validation: float
) -> None:
    manifest, task = shards[1], TaskSpec(0, 0, ("ant", "cat"))
    fractions = (0.25, 0.4, 0.5, 0.7, 0.9, 1.0)
    trained = [set(select(manifest, task, "train", validation, fraction).indices.tolist()) for fraction in fractions]
    assert all(smaller <= larger for smaller, larger in pairwise(trained)) and len(trained[0]) < len(trained[-1])
    if validation:
        held = [set(select(manifest, task, "validation", validation, each).indices.tolist()) for each in fractions]
        kept = [set(select(manifest, task, "train", 0.0, each).indices.tolist()) for each in fractions]
        assert [own | out for own, out in zip(trained, held, strict=True)] == kept
        assert not any(smaller & out for smaller, out in product(trained, held[-1:]))


def test_test_is_the_test_split(shards: tuple[Path, Manifest]) -> None:
    selection = select(shards[1], TASK, "test", 0.3)
    assert (selection.split, len(selection)) == ("test", 9)


@pytest.mark.parametrize(("fraction", "chosen"), [(0.34, [4, 3, 1]), (0.01, [1, 1, 1]), (0.99, [12, 9, 2])])
def test_a_sample_is_stratified_and_lies_in_larger_ones(
    shards: tuple[Path, Manifest], fraction: float, chosen: list[int]
) -> None:
    manifest = shards[1]
    whole = select(manifest, TASK, "train", 0.0)
    part, half = sample(manifest, whole, fraction), sample(manifest, whole, 0.5)
    assert [int((part.labels == label).sum()) for label in (5, 6, 4)] == chosen
    label_of = dict(zip(whole.indices.tolist(), whole.labels.tolist(), strict=True))
    assert [label_of[index] for index in part.indices.tolist()] == part.labels.tolist()
    smaller, larger = sorted((set(part.indices.tolist()), set(half.indices.tolist())), key=len)
    assert smaller <= larger and (np.diff(part.indices) > 0).all()
    assert part.bytes == manifest.splits["train"].size[part.indices].sum()
    alone = select(manifest, TaskSpec(0, 0, ("ant",)), "train", 0.0)
    assert np.array_equal(sample(manifest, alone, fraction).indices, part.indices[part.labels == 5])


def test_errors(shards: tuple[Path, Manifest]) -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.validation_fraction=0\.0"):
        select(shards[1], TASK, "validation", 0.0)
    with pytest.raises(DataError, match="'elk' is not in"):
        select(shards[1], TaskSpec(0, 0, ("elk",)), "train", 0.0)


def test_a_class_without_a_picture_is_named(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    for name in ("train/ant/1.png", "train/ant/2.png", "test/ant/3.png", "train/bee/1.png", "test/cat/1.png"):
        write_picture(tmp_path / name)
    shard(tmp_path, tmp_path / "shards")
    manifest = read_manifest(tmp_path / "shards")
    check_pictures(manifest, [TaskSpec(0, 0, ("ant",))], 0.5)
    with pytest.raises(DataError, match=r"'ant' has a single training picture, of those that data\.train_fraction"):
        check_pictures(manifest, [TaskSpec(0, 0, ("ant",))], 0.5, 0.5)
    with pytest.raises(DataError, match="'bee' has no test picture"):
        check_pictures(manifest, [TaskSpec(0, 0, ("ant", "bee"))], 0.0)
    with pytest.raises(DataError, match="'cat' has no training picture"):
        check_pictures(manifest, [TaskSpec(0, 0, ("cat",))], 0.0)
    with pytest.raises(DataError, match="'bee' has a single training picture"):
        select(manifest, TaskSpec(0, 0, ("bee",)), "train", 0.5)
