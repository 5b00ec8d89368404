"""The position encoding that tells the layers of a group apart (PIE of METHOD). N prompted layers, D width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlgp_dist.config import hlgp_options


class Position(nn.Module):
    """Calling it gives one vector a layer [N, D], for every prompt vector of the layer."""

    is_learned = False
    multiplies = False
    """Whether P = S (1 + E) rather than P = S + E."""

    def reset(self) -> None:
        """As at the first task."""

    def forward(self) -> Tensor:
        raise NotImplementedError


class Learned(Position):
    """Learned, zero at first, so that the layers of a group start identical."""

    is_learned = True

    def __init__(self, layers: int, width: int, *, multiplies: bool = False) -> None:
        super().__init__()
        self.multiplies = multiplies
        self.vectors = nn.Parameter(torch.zeros(layers, width))

    def reset(self) -> None:
        nn.init.zeros_(self.vectors)

    def forward(self) -> Tensor:
        return self.vectors.clone()


class Fixed(Position):
    """Never trained, hence not stored with a task."""

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self) -> Tensor:
        return self.vectors


def sines(blocks: Sequence[int], width: int, scale: float) -> Tensor:
    """e_l[2j] = s sin(l / 10000^(2j/D)), e_l[2j+1] = s cos(...) of block indices l: [N, D]."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.tensor(blocks, dtype=torch.float64)[:, None] * rates
    waves = scale * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
    return waves.float()


def position(spec: hlgp_options.Position, blocks: Sequence[int], width: int) -> Position:
    """The encoding that `method.position` names, of the prompted blocks."""
    if isinstance(spec, hlgp_options.SinusoidalPosition):
        return Fixed(sines(blocks, width, spec.scale))
    if isinstance(spec, hlgp_options.NoPosition):
        return Fixed(torch.zeros(len(blocks), width))
    return Learned(len(blocks), width, multiplies=isinstance(spec, hlgp_options.MultiplicativePosition))
