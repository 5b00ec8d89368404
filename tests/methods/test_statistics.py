"""Class moments against torch's own, whatever batches and ranks the pictures come in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics

CLASSES, WIDTH = 3, 5
SPREADS: list[Spread] = ["none", "diagonal", "full", "pooled"]


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Features far from zero, so that a naive E[x^2] - E[x]^2 in fp32 would be off; a class with one picture."""
    random = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.tensor([2]), torch.randint(0, 2, (40,), generator=random)])
    features = 100.0 + torch.randn(41, WIDTH, generator=random) @ torch.randn(WIDTH, WIDTH, generator=random)
    return features, labels


def statistics(features: Tensor, labels: Tensor, spread: Spread, batch: int = 7) -> ClassStatistics:
    batches = list(zip(features.split(batch), labels.split(batch), strict=True))
    return class_statistics(batches, CLASSES, WIDTH, spread, lambda tensor: tensor)


@pytest.mark.parametrize("spread", SPREADS)
def test_counts_and_means(spread: Spread, pictures: tuple[Tensor, Tensor]) -> None:
    features, labels = pictures
    found = statistics(features, labels, spread)
    assert torch.equal(found.counts, labels.bincount(minlength=CLASSES))
    for label in range(CLASSES):
        torch.testing.assert_close(found.means[label], features[labels == label].double().mean(0).float())


def test_full_is_the_biased_covariance(pictures: tuple[Tensor, Tensor]) -> None:
    features, labels = pictures
    found = statistics(features, labels, "full").spread
    for label in range(CLASSES):
        expected = torch.cov(features[labels == label].double().T, correction=0).float()
        torch.testing.assert_close(found[label], expected, rtol=1e-5, atol=1e-6)


def test_diagonal_is_the_diagonal_of_full(pictures: tuple[Tensor, Tensor]) -> None:
    diagonal, full = (statistics(*pictures, spread).spread for spread in ("diagonal", "full"))  # type: ignore[arg-type]
    torch.testing.assert_close(diagonal, full.diagonal(dim1=1, dim2=2), rtol=1e-5, atol=1e-6)
    assert (diagonal >= 0).all()


def test_pooled_is_the_scatter_within_classes(pictures: tuple[Tensor, Tensor]) -> None:
    full, pooled = (statistics(*pictures, spread) for spread in ("full", "pooled"))  # type: ignore[arg-type]
    expected = (full.spread.double() * full.counts[:, None, None]).sum(0).float()
    torch.testing.assert_close(pooled.spread, expected, rtol=1e-5, atol=1e-4)


def test_none_keeps_no_spread(pictures: tuple[Tensor, Tensor]) -> None:
    assert statistics(*pictures, "none").spread.numel() == 0


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("batch", [1, 41])
def test_batches_do_not_matter(spread: Spread, batch: int, pictures: tuple[Tensor, Tensor]) -> None:
    assert_same(statistics(*pictures, spread, batch), statistics(*pictures, spread))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("sizes", [[20, 21], [41, 0], [0, 3, 38]])
def test_any_split_into_ranks_gives_the_same(spread: Spread, sizes: list[int], pictures: tuple[Tensor, Tensor]) -> None:
    """A rank may have seen nothing, or nothing of a class; the sums of all ranks are what counts."""
    sums: list[list[Tensor]] = []
    for features, labels in zip(*(tensor.split(sizes) for tensor in pictures), strict=True):
        own: list[Tensor] = []
        class_statistics(
            [(features, labels)], CLASSES, WIDTH, spread, lambda tensor, own=own: own.append(tensor.clone()) or tensor
        )
        sums.append(own)
    totals = iter([torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)])
    together = class_statistics([], CLASSES, WIDTH, spread, lambda _: next(totals))
    assert_same(together, statistics(*pictures, spread))


def assert_same(one: ClassStatistics, other: ClassStatistics) -> None:
    assert torch.equal(one.counts, other.counts)
    torch.testing.assert_close(one.means, other.means, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(one.spread, other.spread, rtol=1e-5, atol=1e-5)
