from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.augment import augment, crop_boxes, to_float

KEY = {"seed": 1, "task": 2, "epoch": 3}
NO_CROP = Augmentation(crop_scale=1.0, flip=False)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 12, 12), dtype=np.uint8))


def test_none_only_converts(images: Tensor) -> None:
    plain = augment(images, torch.arange(16), augmentation=None, **KEY)
    assert torch.equal(plain, to_float(images))
    assert plain.dtype == torch.float32
    assert float(plain.max()) == 1.0


@pytest.mark.parametrize("part", [[5], [3, 9], list(range(15, -1, -1))])
def test_a_sample_looks_the_same_in_any_batch(images: Tensor, part: list[int]) -> None:
    samples = torch.arange(100, 116)
    whole = augment(images, samples, augmentation=Augmentation(), **KEY)
    assert torch.equal(augment(images[part], samples[part], augmentation=Augmentation(), **KEY), whole[part])


@pytest.mark.parametrize("changed", ["seed", "task", "epoch"])
def test_every_part_of_the_key_counts(images: Tensor, changed: str) -> None:
    samples = torch.arange(16)
    first = augment(images, samples, augmentation=Augmentation(), **KEY)
    second = augment(images, samples, augmentation=Augmentation(), **(KEY | {changed: 9}))
    assert not torch.isclose(first, second).all(dim=(1, 2, 3)).any()


def test_flip_alone_mirrors_about_half(images: Tensor) -> None:
    samples = np.arange(2000)
    mirrored = crop_boxes(samples, Augmentation(), **KEY)[:, 2] < 0
    assert 0.45 < mirrored.mean() < 0.55
    assert not (crop_boxes(samples, NO_CROP, **KEY)[:, 2] < 0).any()


def test_crops_stay_inside_and_have_the_stated_area() -> None:
    boxes = np.abs(crop_boxes(np.arange(5000), Augmentation(crop_scale=0.3), **KEY))
    area = boxes[:, 2] * boxes[:, 3]
    assert (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    assert area.max() <= 1.0
    assert 0.3 <= area.min() + 1e-6 < 0.31
    ratio = boxes[:, 2] / boxes[:, 3]
    assert ratio.min() >= 3 / 4 - 1e-6
    assert ratio.max() <= 4 / 3 + 1e-6


def test_pixels_against_a_written_out_crop() -> None:
    """A linear ramp sampled bilinearly is the ramp at the sampled places, away from the border."""
    side = 32
    ramp = torch.arange(side, dtype=torch.uint8).expand(1, 3, side, side)
    samples = torch.tensor([7])
    centre_x, _, half_width, _ = crop_boxes(samples.numpy(), Augmentation(), **KEY)[0]
    out = augment(ramp, samples, augmentation=Augmentation(), **KEY)[0, 0] * 255
    steps = (2 * np.arange(side) + 1) / side - 1
    places = ((centre_x + half_width * steps) + 1) / 2 * side - 0.5
    expected = np.clip(places, 0, side - 1)
    np.testing.assert_allclose(out.numpy(), np.broadcast_to(expected, (side, side)), atol=1e-3)


def test_ids_must_be_on_the_host(images: Tensor) -> None:
    with pytest.raises(AssertionError):
        augment(images, torch.arange(16, device="meta"), augmentation=Augmentation(), **KEY)
