"""Colour jitter against torchvision's own operations, picture by picture in the drawn order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from hlgp_dist.config.schema import Jitter
from hlgp_dist.data.jitter import OPERATIONS, Plan, jitter_, jitter_each_, jitter_together_, plan
from hlgp_dist.data.uniforms import Key
from tests.pictures import noise, smooth

TOLERANCE = 5e-6
"""Of 0 .. 1, a thousandth of a step of colour: torchvision rounds a hue to sixths of a float's last place."""
KEY = Key(1, 2, 3)
REFERENCES = (
    torchvision.adjust_brightness,
    torchvision.adjust_contrast,
    torchvision.adjust_saturation,
    torchvision.adjust_hue,
)
SIDE = 40


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Photograph-like, noise, flat ones, greys, and greys that are one step off: [14, 3, S, S]."""
    random = np.random.default_rng(0)
    pictures = [smooth(SIDE, SIDE, seed=seed) for seed in range(6)] + noise([(SIDE, SIDE)] * 3)
    pictures += [np.full((SIDE, SIDE, 3), value, dtype=np.uint8) for value in (0, 128, 255)]
    grey = random.integers(0, 256, (SIDE, SIDE, 1)).repeat(3, 2)
    pictures += [values.clip(0, 255).astype(np.uint8) for values in (grey, grey + random.integers(-1, 2, grey.shape))]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() / 255.0


def jittered(images: Tensor, steps: Plan) -> Tensor:
    out = images.clone()
    jitter_(out, steps)
    return out


def reference(images: Tensor, steps: Plan) -> Tensor:
    out = []
    for image, operations, factors in zip(images, steps.operations.T, steps.factors.T, strict=True):
        for operation, factor in zip(operations, factors, strict=True):
            image = REFERENCES[operation](image, float(factor))
        out.append(image)
    return torch.stack(out)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.5])
@pytest.mark.parametrize("operation", [0, 1, 2])
def test_one_operation(images: Tensor, operation: int, factor: float) -> None:
    out = images.clone()
    OPERATIONS[operation](out, torch.full((len(out), 1, 1, 1), factor))
    expected = torch.stack([REFERENCES[operation](image, factor) for image in images])
    torch.testing.assert_close(out, expected, rtol=0.0, atol=TOLERANCE)


@pytest.mark.parametrize("factor", [-0.5, -0.1, 0.0, 0.07, 1 / 3, 0.5])
def test_hue(images: Tensor, factor: float) -> None:
    out = images.clone()
    OPERATIONS[3](out, torch.full((len(out), 1, 1, 1), factor))
    expected = torch.stack([torchvision.adjust_hue(image, factor) for image in images])
    torch.testing.assert_close(out, expected, rtol=0.0, atol=TOLERANCE)
    assert out.min() >= 0.0 and out.max() <= 1.0


@pytest.mark.parametrize("jitter", [Jitter(), Jitter(brightness=2.0, hue=0.5), Jitter(contrast=0.0, hue=0.0)])
def test_all_in_the_drawn_order(images: Tensor, jitter: Jitter) -> None:
    for epoch in range(4):
        steps = plan(np.arange(len(images)), jitter, Key(0, 0, epoch))
        torch.testing.assert_close(jittered(images, steps), reference(images, steps), rtol=0.0, atol=TOLERANCE)


def both(images: Tensor, steps: Plan) -> Iterator[Tensor]:
    for change_ in (jitter_each_, jitter_together_):
        out = images.clone()
        change_(out, steps)
        yield out


def test_one_by_one_and_together_are_bit_for_bit_the_same(images: Tensor) -> None:
    steps = plan(np.arange(len(images)), Jitter(), KEY)
    each, together = both(images, steps)
    assert torch.equal(each, together)


@pytest.mark.parametrize("part", [[3], [5, 1], list(range(13, -1, -1))])
def test_neighbours_change_no_bit(images: Tensor, part: list[int]) -> None:
    samples = np.arange(100, 114)
    whole = jittered(images, plan(samples, Jitter(), KEY))
    for out in both(images[part].contiguous(), plan(samples[part], Jitter(), KEY)):
        assert torch.equal(out, whole[part])


def test_threads_change_no_bit() -> None:
    """Of a picture so large that torch would share it, and the mean of its greys, among them."""
    picture, threads = torch.from_numpy(smooth(256, 256)).permute(2, 0, 1)[None].contiguous() / 255.0, [1, 3]
    steps, before, outs = plan(np.arange(1), Jitter(), KEY), torch.get_num_threads(), []
    for number in threads:
        torch.set_num_threads(number)
        outs.append(jittered(picture, steps))
    torch.set_num_threads(before)
    assert torch.equal(*outs)


def test_the_law_of_the_draws() -> None:
    steps = plan(np.arange(12000), Jitter(brightness=0.4, contrast=1.5, saturation=0.2, hue=0.1), KEY)
    for operation, (low, high) in enumerate([(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)]):
        factors = steps.factors[steps.operations == operation]
        assert len(factors) == 12000
        assert low <= factors.min() and factors.max() <= high + 1e-6
        parts = np.histogram(factors, bins=10, range=(low, high + 1e-6))[0]
        assert parts.min() > 1050 and parts.max() < 1350
    orders = Counter(map(tuple, steps.operations.T.tolist()))
    assert len(orders) == 24
    assert min(orders.values()) > 400 and max(orders.values()) < 600


def test_what_may_not_stray_is_left_out(images: Tensor) -> None:
    steps = plan(np.arange(14), Jitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.2), KEY)
    assert steps.operations.tolist() == [[3] * 14]
    assert not np.isclose(steps.factors, 0.0).all()


def test_draws_never_change() -> None:
    """Or every run that is resumed would go on with other pictures."""
    steps = plan(np.arange(2), Jitter(), KEY)
    assert steps.operations.T.tolist() == GOLDEN_OPERATIONS
    np.testing.assert_allclose(steps.factors.T, GOLDEN_FACTORS, rtol=1e-6)


GOLDEN_OPERATIONS = [[1, 2, 0, 3], [2, 1, 0, 3]]
GOLDEN_FACTORS = [
    [0.6477622985839844, 0.8112516403198242, 0.8386972546577454, 0.017888003960251808],
    [0.9640852212905884, 0.7069688439369202, 1.3411847352981567, -0.041667960584163666],
]
