"""Demands on a method: each holds, or a sentence says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from hlgp_dist.contract.rehearsal import Rehearsal
from hlgp_dist.errors import Failure

RTOL = 1e-5
"""Of the largest value: fp32 in batches of another size."""


class ContractBroken(Failure, AssertionError):
    """The message says what a method did, what it must do, and by how much they differ."""


def require(holds: object, sentence: str) -> None:
    """Raise ContractBroken with the sentence, unless it holds."""
    if not holds:
        raise ContractBroken(sentence)


def require_same(found: Tensor, expected: Tensor, sentence: str, rtol: float = 0.0) -> None:
    """Of one shape, and no further apart than `rtol` of the largest value; without, bit for bit."""
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    require(
        difference <= rtol * largest,
        f"{sentence}, differ by {difference:.2g}, where the largest value is {largest:.2g}",
    )


def when(rehearsal: Rehearsal) -> str:
    """Where the method stands."""
    return f"{'while training' if rehearsal.learner.training else 'after'} task {rehearsal.task.index}"


def listed(names: Iterable[str]) -> str:
    """In a sentence."""
    return ", ".join(names)
