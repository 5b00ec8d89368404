"""Class statistics remembered, features drawn from them, and a head made comparable across tasks by them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hlgp_dist.config.schema import DiagonalAlignment, FullAlignment
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.head import Head
from hlgp_dist.train.alignment import ClassMemory, align

WIDTH = 6
KINDS = {"full": FullAlignment(kind="full"), "diagonal": DiagonalAlignment(kind="diagonal")}


def pictures(num_classes: int, per_class: int = 200, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of classes around distant centres, the same correlation in each."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(WIDTH, WIDTH, generator=random) * 0.5
    centres = 4.0 * torch.randn(num_classes, WIDTH, generator=random)
    noise = torch.randn(num_classes, per_class, WIDTH, generator=random) @ mixing
    return (centres[:, None] + noise).flatten(0, 1), torch.arange(num_classes).repeat_interleave(per_class)


def statistics(features: Tensor, labels: Tensor, spread: Spread) -> ClassStatistics:
    classes = int(labels.max()) + 1
    return class_statistics([(features, labels)], classes, features.shape[1], spread, lambda tensor: tensor)


def memory_of(spread: Spread, features: Tensor, labels: Tensor, first_task: int = 2) -> ClassMemory:
    """The classes added in two tasks."""
    memory = ClassMemory(features.shape[1], spread)
    first = labels < first_task
    memory.add(statistics(features[first], labels[first], spread))
    memory.add(statistics(features[~first], labels[~first] - first_task, spread))
    return memory


@pytest.mark.parametrize("spread", KINDS)
def test_drawn_features_have_the_moments_of_the_pictures(spread: Spread) -> None:
    features, labels = pictures(4)
    drawn, classes = (
        memory_of(spread, features, labels).sampler(torch.Generator().manual_seed(1), torch.device("cpu")).draw(20_000)
    )
    assert torch.equal(classes.bincount(), torch.full((4,), 20_000))
    for label in range(4):
        own, expected = drawn[classes == label], torch.cov(features[labels == label].T, correction=0)
        if spread == "diagonal":
            expected = expected.diag().diag()
        torch.testing.assert_close(own.mean(0), features[labels == label].mean(0), rtol=0.0, atol=0.06)
        torch.testing.assert_close(torch.cov(own.T), expected, rtol=0.0, atol=0.12)


def test_draws_are_shuffled_and_named_by_the_seed() -> None:
    memory = memory_of("full", *pictures(4))
    once, again, other = (
        memory.sampler(torch.Generator().manual_seed(seed), torch.device("cpu")).draw(8) for seed in (1, 1, 2)
    )
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])
    assert not torch.equal(once[1], once[1].sort().values)


def uncalibrated_head(features: Tensor, labels: Tensor) -> Head:
    """Each task's rows tell its own classes apart; the second task's logits are larger throughout."""
    head = Head(WIDTH)
    centres = torch.stack([features[labels == label].mean(0) for label in range(4)])
    for task, scale in ((centres[:2], 0.2), (centres[2:], 3.0)):
        head.begin_task(2)
        with torch.no_grad():
            head.weight.copy_(scale * task)
            head.bias.copy_(-0.5 * scale * task.square().sum(1) + scale)
    return head


def accuracy(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> float:
    return ((features @ weight.T + bias).argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize("spread", KINDS)
def test_alignment_makes_tasks_comparable(spread: Spread) -> None:
    features, labels = pictures(4)
    head, memory = uncalibrated_head(features, labels), memory_of(spread, features, labels)
    before = accuracy(*head.rows(), features, labels)
    options = KINDS[spread].model_copy(update={"learning_rate": 0.05})
    after = accuracy(*align(head, memory, options, seed=0, task_index=1), features, labels)
    assert before < 0.8 and after > 0.9


@pytest.mark.parametrize("spread", KINDS)
def test_alignment_is_a_function_of_seed_and_task_and_leaves_the_head_alone(spread: Spread) -> None:
    features, labels = pictures(4)
    head, memory = uncalibrated_head(features, labels), memory_of(spread, features, labels)
    rows = head.rows()
    torch.manual_seed(1)
    once = align(head, memory, KINDS[spread], seed=0, task_index=1)
    torch.manual_seed(2)
    again = align(head, memory, KINDS[spread], seed=0, task_index=1)
    other = align(head, memory, KINDS[spread], seed=0, task_index=2)
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])
    assert all(torch.equal(now, then) for now, then in zip(head.rows(), rows, strict=True))


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_fewer_pictures_than_features(scale: float) -> None:
    """A covariance then has no full rank, whatever the features' scale."""
    random = torch.Generator().manual_seed(3)
    features, labels = scale * torch.randn(6, 64, generator=random), torch.tensor([0, 0, 0, 0, 0, 1])
    memory = ClassMemory(64, "full")
    memory.add(statistics(features, labels, "full"))
    drawn, classes = memory.sampler(torch.Generator().manual_seed(0), torch.device("cpu")).draw(4)
    assert drawn.isfinite().all()
    one_picture = drawn[classes == 1] - features[5]
    assert one_picture.abs().max() < 0.1 * scale, "a class with one picture is drawn close to it"
