"""Crop boxes follow torchvision's law, one sample's whatever comes with it."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import RandomResizedCrop

from hlgp_dist.data.crops import crop_boxes, mirrored
from hlgp_dist.data.uniforms import Key, uniforms

KEY = Key(1, 2, 3)
DRAWS = 4000
QUANTILES = np.linspace(0.02, 0.98, 25)
DISTANCE = 0.043
"""The largest distance of two empirical distributions of DRAWS values that one in a thousand pairs exceeds."""


def boxes_of(shape: tuple[int, int], count: int, *, scale: float = 0.08, key: Key = KEY) -> NDArray[np.int64]:
    return crop_boxes(np.arange(count), np.tile(shape, (count, 1)), crop_scale=scale, key=key)


def torchvisions(shape: tuple[int, int], scale: float) -> NDArray[np.int64]:
    image = torch.empty((3, *shape), dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(image, [scale, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)]
    return np.array(boxes)


def distance(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Kolmogorov's and Smirnov's."""
    places = np.concatenate([ours, theirs])
    parts = (np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (ours, theirs))
    return float(np.abs(np.subtract(*parts)).max())


@pytest.mark.parametrize("scale", [0.08, 0.5])
@pytest.mark.parametrize("shape", [(256, 341), (256, 256), (300, 170), (90, 31)])
def test_the_law_is_torchvisions(shape: tuple[int, int], scale: float) -> None:
    for box, other in zip(boxes_of(shape, DRAWS, scale=scale).T, torchvisions(shape, scale).T, strict=True):
        assert distance(box.astype(float), other.astype(float)) < DISTANCE
    ours, theirs = boxes_of(shape, DRAWS, scale=scale), torchvisions(shape, scale)
    for combine in (np.multiply, np.divide):
        assert distance(combine(*ours.T[2:]), combine(*theirs.T[2:])) < DISTANCE


def test_boxes_lie_inside() -> None:
    shapes = np.random.default_rng(0).integers(1, 60, (5000, 2))
    boxes = crop_boxes(np.arange(5000), shapes, crop_scale=0.01, key=KEY)
    assert boxes.dtype == np.int64
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= shapes).all()


@pytest.mark.parametrize(
    ("shape", "box"),
    [((10, 1000), [0, 493, 10, 13]), ((1000, 10), [493, 0, 13, 10]), ((1, 1), [0, 0, 1, 1])],
)
def test_where_no_box_fits_it_is_the_central_one(shape: tuple[int, int], box: list[int]) -> None:
    assert (boxes_of(shape, 50, scale=0.9) == box).all()


def test_a_least_area_of_one_leaves_the_picture_whole_but_for_rounding() -> None:
    assert (boxes_of((256, 300), 50, scale=1.0) >= [0, 0, 255, 299]).all()


def test_a_sample_has_its_own_draws() -> None:
    samples = np.arange(100, 140)
    shapes = np.random.default_rng(0).integers(20, 60, (40, 2))
    whole = crop_boxes(samples, shapes, crop_scale=0.08, key=KEY)
    for part in ([5], [3, 9], list(range(39, -1, -1))):
        assert np.array_equal(crop_boxes(samples[part], shapes[part], crop_scale=0.08, key=KEY), whole[part])
        assert np.array_equal(mirrored(samples[part], KEY), mirrored(samples, KEY)[part])


@pytest.mark.parametrize("changed", ["seed", "task", "epoch"])
def test_every_part_of_the_key_counts(changed: str) -> None:
    other = KEY._replace(**{changed: 9})
    assert (boxes_of((256, 341), 50) != boxes_of((256, 341), 50, key=other)).any(1).all()
    assert (mirrored(np.arange(50), KEY) != mirrored(np.arange(50), other)).any()


def test_about_half_are_mirrored() -> None:
    assert 0.45 < mirrored(np.arange(2000), KEY).mean() < 0.55


def test_draws_are_uniform_and_independent() -> None:
    values = uniforms(np.arange(5000), range(0, 31), KEY)
    assert values.shape == (31, 5000)
    assert values.min() >= 0.0 and values.max() < 1.0
    assert np.allclose(np.quantile(values, QUANTILES, axis=1), QUANTILES[:, None], atol=0.03)
    assert np.abs(cast(NDArray[np.float64], np.corrcoef(values)) - np.eye(31)).max() < 0.07


def test_draws_never_change() -> None:
    """Or every run that is resumed would go on with other pictures."""
    assert boxes_of((256, 341), 3).tolist() == GOLDEN_BOXES
    assert mirrored(np.arange(8), KEY).tolist() == GOLDEN_MIRRORED


GOLDEN_BOXES = [[38, 28, 215, 285], [107, 110, 139, 149], [37, 82, 214, 200]]
GOLDEN_MIRRORED = [True, True, False, False, True, True, True, False]
