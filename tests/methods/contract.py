"""What every method, and any plug-in, must pass (METHOD 9 and 10), on a trunk that a test brings."""

from __future__ import annotations

import torch
from torch import Tensor

from hlgp_dist.config import method_options
from hlgp_dist.train.checkpoint import restore_module
from tests.rehearsal import Rehearsal

RTOL = 1e-5
"""fp32 logits under another batch composition (DESIGN, what "equal" means), of the largest logit."""


def pictures(count: int, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def logits(rehearsal: Rehearsal, images: Tensor, batch_size: int, order: Tensor) -> Tensor:
    """In the order of `images`, however they were ordered and divided on the way."""
    with torch.no_grad():
        parts = [rehearsal.output(part, rehearsal.tasks[-1]).logits for part in images[order].split(batch_size)]
    return torch.cat(parts)[order.argsort()]


def check_batch_composition(rehearsal: Rehearsal) -> None:
    """Size, order and neighbours of a test batch change nothing."""
    images = pictures(24)
    straight, shuffled = torch.arange(24), torch.randperm(24, generator=torch.Generator().manual_seed(1))
    whole = logits(rehearsal, images, 24, straight)
    top = whole.topk(2, 1).values
    clear = top[:, 0] - top[:, 1] > 10 * RTOL * whole.abs().max()
    for batch_size, order in [(1, straight), (7, straight), (24, shuffled), (7, shuffled)]:
        other = logits(rehearsal, images, batch_size, order)
        assert ((other - whole).abs() <= RTOL * whole.abs().max()).all()
        assert torch.equal(other.argmax(1)[clear], whole.argmax(1)[clear])


def check_later_tasks(rehearsal: Rehearsal) -> None:
    """A finished task's own rows of the head and the method's memory of it stay, byte for byte."""
    first, second = rehearsal.tasks[:2]
    rehearsal.learn(first)
    rows = rehearsal.head.rows()[0].clone()
    rehearsal.learn(second)
    assert torch.equal(rehearsal.head.rows()[0][: len(rows)], rows)


def check_state(rehearsal: Rehearsal, options: method_options.Method) -> None:
    """The state dict is the whole of what a method knows after a task."""
    again = Rehearsal(rehearsal.trunk, rehearsal.tasks, options)
    restore_module(again.method, rehearsal.method.state_dict())
    restore_module(again.head, rehearsal.head.state_dict())
    again.method.eval()
    images, last = pictures(3), rehearsal.tasks[-1]
    assert torch.equal(again.output(images, last).logits, rehearsal.output(images, last).logits)
