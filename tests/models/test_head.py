"""The head grows by a task at a time; training a task cannot touch another task's rows."""

from __future__ import annotations

import torch
from torch.nn import functional

from hlgp_dist.models.head import Head

WIDTH = 4


def trained(head: Head, num_classes: int, seed: int) -> Head:
    """One more task, with steps of SGD with weight decay and momentum on random features."""
    head.begin_task(num_classes)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    random = torch.Generator().manual_seed(seed)
    for _ in range(3):
        logits = head(torch.randn(8, WIDTH, generator=random))
        optimizer.zero_grad()
        functional.cross_entropy(logits, torch.randint(logits.shape[1], (8,), generator=random)).backward()
        optimizer.step()
    return head


def test_training_a_task_leaves_older_rows_bit_for_bit() -> None:
    head = trained(Head(WIDTH), 3, seed=0)
    weight, bias = head.rows()
    trained(head, 2, seed=1)
    grown, grown_bias = head.rows()
    assert grown.shape == (5, WIDTH) and grown_bias.shape == (5,)
    assert torch.equal(grown[:3], weight) and torch.equal(grown_bias[:3], bias)
    assert grown[3:].abs().min() > 0.0


def test_only_the_current_rows_are_parameters() -> None:
    head = trained(trained(Head(WIDTH), 3, seed=0), 2, seed=1)
    assert [tuple(parameter.shape) for parameter in head.parameters()] == [(2, WIDTH), (2,)]
    assert {name: tuple(buffer.shape) for name, buffer in head.named_buffers()} == {
        "past_weight": (3, WIDTH),
        "past_bias": (3,),
    }


def test_logits_are_those_of_one_linear_layer_over_all_seen_classes() -> None:
    head = trained(trained(Head(WIDTH), 3, seed=0), 2, seed=1)
    features = torch.randn(6, WIDTH)
    torch.testing.assert_close(head(features), functional.linear(features, *head.rows()), rtol=1e-6, atol=1e-6)


def test_new_rows_start_without_an_opinion() -> None:
    head = Head(WIDTH)
    head.begin_task(3)
    assert torch.equal(head(torch.randn(2, WIDTH)), torch.zeros(2, 3))


def test_an_alignment_replaces_all_rows_and_changes_no_shape() -> None:
    head = trained(trained(Head(WIDTH), 3, seed=0), 2, seed=1)
    weight, bias = torch.randn(5, WIDTH), torch.randn(5)
    head.replace_rows(weight, bias)
    after = head.rows()
    assert torch.equal(after[0], weight) and torch.equal(after[1], bias)
    assert len(head.past_weight) == 3 and len(head.weight) == 2
    weight.zero_()
    assert not torch.equal(head.rows()[0], weight), "the head holds its own copy"


def test_rows_are_copies() -> None:
    head = trained(Head(WIDTH), 3, seed=0)
    before = head.rows()[0].clone()
    head.rows()[0].zero_()
    assert torch.equal(head.rows()[0], before)
