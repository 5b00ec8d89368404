"""How alike the prompts of a method are after a task, for TensorBoard (docs/tensorboard.md).

Everything here reads tensors that every rank holds alike: no draw, no collective, no effect on training. N prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Likeness:
    """Cosines [N, N] in -1..1 between N prompts; of: what each belongs to (`block`, `task`), names: which one."""

    cosines: Tensor
    of: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Diagnostics:
    """Numbers and likenesses by name, those that the method has at this time."""

    numbers: Mapping[str, float] = field(default_factory=dict)
    likenesses: Mapping[str, Likeness] = field(default_factory=dict)


def alike(prompts: Tensor, of: str, names: Sequence[object] | None = None) -> Diagnostics:
    """Of prompts [N, ...], each taken as one vector: `similarity_of_{of}s`, and the mean over pairs of different ones,
    `similarity_between_{of}s`. names: else 0..N-1."""
    likeness = Likeness(cosines(prompts), of, tuple(map(str, range(len(prompts)) if names is None else names)))
    return Diagnostics(
        mean_over(likeness.cosines, f"similarity_between_{of}s", _pairs(len(prompts))),
        {f"similarity_of_{of}s": likeness},
    )


def by_group(cosines: Tensor, groups: Sequence[int]) -> dict[str, float]:
    """Of cosines [N, N] between layers, which are of these groups: the means within groups and between them."""
    group = torch.tensor(groups)
    same, pairs = group[:, None] == group, _pairs(len(groups))
    within = mean_over(cosines, "similarity_within_groups", pairs & same)
    return within | mean_over(cosines, "similarity_between_groups", pairs & ~same)


def cosines(vectors: Tensor) -> Tensor:
    """[N, N] between vectors [N, ...], on the host; a vector of zeros has the cosine 0 with all."""
    rows = torch.nn.functional.normalize(vectors.detach().flatten(1).float().cpu())
    return (rows @ rows.mT).clamp(-1.0, 1.0)


def mean_over(cosines: Tensor, name: str, pairs: Tensor) -> dict[str, float]:
    """The mean of cosines [N, N] where `pairs` [N, N] is true, under that name; nothing if there is no pair."""
    return {name: cosines[pairs].mean().item()} if pairs.any() else {}


def ratio_of_norms(parts: Tensor, wholes: Tensor) -> float:
    """The mean over n of |part_n| / |whole_n|, of [N, ...] each."""
    return float((parts.flatten(1).norm(dim=1) / wholes.flatten(1).norm(dim=1)).mean())


def _pairs(count: int) -> Tensor:
    """[N, N]: true once for each two different ones."""
    return torch.ones(count, count, dtype=torch.bool).triu(1)
