"""Demands on a method: each holds, or a sentence says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from traceback import walk_tb

from torch import Tensor

from hlgp_dist.contract.rehearsal import Rehearsal
from hlgp_dist.errors import Failure
from hlgp_dist.methods.base import Method

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
    return rehearsal.learner.when()


def crash(error: Exception) -> ContractBroken:
    """What foreign code raised, in a sentence."""
    if isinstance(error, Failure):
        return ContractBroken(str(error))
    (first, *_) = str(error).splitlines() or [""]
    return ContractBroken(placed(error, f"raised {type(error).__name__}: {first}"))


def placed(error: Exception, what: str) -> str:
    """`what` between the part of the method that the error came from, and where the method stood."""
    calls = [(frame.f_locals.get("self"), frame.f_code.co_name) for frame, _ in walk_tb(error.__traceback__)]
    parts = [name for owner, name in calls if isinstance(owner, Method) and name in ("__init__", *vars(Method))]
    part = parts[0] if parts else "the method"
    place = [_place(owner, part) for owner, _ in calls if isinstance(owner, Rehearsal)]
    return " ".join([part, what, *place[-1:]])


def _place(rehearsal: Rehearsal, part: str) -> str:
    if part == "__init__":
        return f"on a trunk of {len(rehearsal.trunk.vit.blocks)} blocks"
    return f"at the beginning of task {rehearsal.task.index}" if part == "begin_task" else when(rehearsal)


def listed(names: Iterable[str]) -> str:
    """In a sentence."""
    return ", ".join(names)
