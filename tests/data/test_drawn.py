"""Pictures that are drawn: the same wherever and whenever, stored and cached like decoded ones."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.config.schema import Benchmark
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.drawn import drawn_manifest
from hlgp_dist.data.library import Library
from hlgp_dist.data.picture import Form, as_evaluated
from hlgp_dist.data.recipe import Recipe, draw
from hlgp_dist.data.room import SUFFIX
from hlgp_dist.data.selection import check_pictures, select
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.types import PictureSize, TaskSpec

RECIPE = Recipe(classes=12, train_per_class=6, test_per_class=3, size=20, seed=0)
SIZE = PictureSize(16, 0.8, "bicubic")
"""Stored at 20 px."""


def opened(recipe: Recipe, folder: Path, form: Form = "scaled", limit: int | None = None) -> tuple[Library, np.ndarray]:
    """All training pictures [N, H, W, 3], and the library that they were asked of."""
    manifest = drawn_manifest(recipe)
    library = Library(None, manifest, SIZE, Cache(folder, limit))
    whole = TaskSpec(0, 0, manifest.classes)
    pictures = library.open(select(manifest, whole, "train", 0.0), form)
    found = np.stack([pictures[sample] for sample in range(len(pictures))])
    library.close()
    return library, found


def test_what_is_drawn_never_changes() -> None:
    """Results name a recipe: a change of these numbers is another VERSION."""
    hashed = hashlib.sha256(draw(RECIPE, 1, 2, 1).tobytes()).hexdigest()
    assert hashed[:16] == "96adaa8a8581bb25"
    assert RECIPE.digest[:16] == "b2e4facf0d7c0629"


@pytest.mark.parametrize("change", [{"classes": 3}, {"train_per_class": 7}, {"size": 21}, {"seed": 1}])
def test_another_recipe_is_another_data_set(change: dict[str, int]) -> None:
    other = replace(RECIPE, **change)
    assert drawn_manifest(other).digest != drawn_manifest(RECIPE).digest
    assert drawn_manifest(RECIPE).prepared_from == "synthetic, 12 classes of 6 + 3 pictures of 20 px, seed 0"


@pytest.mark.parametrize("size", [1, 3, 20, 33])
def test_a_class_is_a_pattern_under_noise_of_each_picture(size: int) -> None:
    recipe = replace(RECIPE, size=size)
    mine = np.stack([draw(recipe, 0, 4, index) for index in range(200)]).astype(float)
    assert mine.shape == (200, size, size, 3) and mine.max() <= 254
    pattern = mine.mean(0) - 63.5
    assert np.abs(pattern - np.stack([draw(recipe, 1, 4, index) for index in range(200)]).mean(0) + 63.5).max() < 15
    noise = mine - mine.mean(0)
    assert 35 < noise.std() < 39 and abs(np.mean(noise[0] * noise[1])) < 1400 / size
    if size > 3:
        other = np.stack([draw(recipe, 0, 5, index) for index in range(200)]).mean(0) - 63.5
        assert np.abs(pattern - other).mean() > 20


def test_the_manifest_is_one_that_tasks_are_made_of() -> None:
    manifest = drawn_manifest(RECIPE)
    assert manifest.classes == tuple(sorted(manifest.classes)) and manifest.classes[0] == "class-00"
    tasks = split_tasks(manifest.classes, Benchmark(init_cls=6, increment=6))
    check_pictures(manifest, tasks, 0.5)
    assert [len(select(manifest, task, "validation", 0.5)) for task in tasks] == [18, 18]
    split = manifest.splits["train"]
    assert len(np.unique(split.key)) == len(split) == 72 and split.counts.tolist() == [6] * 12


@pytest.mark.parametrize("form", ["scaled", "full"])
def test_pictures_are_stored_once_and_come_back(form: Form, tmp_path: Path) -> None:
    first, drawn = opened(RECIPE, tmp_path, form)
    assert first.counts.decoded == len(drawn) == 72 and first.counts.bytes_read == 0
    again, read = opened(RECIPE, tmp_path, form)
    assert again.counts.decoded == 0 and np.array_equal(read, drawn)
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == RECIPE.classes
    assert np.array_equal(drawn[6 * 7 + 2], draw(RECIPE, 0, 7, 2)), "they are as large as what is stored"
    assert as_evaluated(drawn[0], SIZE, form).shape == (16, 16, 3)


def test_without_room_they_are_drawn_at_every_access(tmp_path: Path) -> None:
    _, expected = opened(RECIPE, tmp_path / "a")
    library, found = opened(RECIPE, tmp_path / "b", limit=1)
    assert np.array_equal(found, expected) and library.counts.decoded == 72


def test_a_test_picture_is_scaled_as_timm_does(tmp_path: Path) -> None:
    """Bit for bit PIL's; a training picture by torch."""
    recipe = replace(RECIPE, size=50)
    manifest = drawn_manifest(recipe)
    library = Library(None, manifest, SIZE, Cache(tmp_path, None))
    pictures = library.open(select(manifest, TaskSpec(0, 0, (manifest.classes[3],)), "test", 0.0), "scaled")
    scaled = Image.fromarray(draw(recipe, 1, 3, 1)).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(pictures[1], np.asarray(scaled))
