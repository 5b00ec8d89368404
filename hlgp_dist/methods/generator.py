"""From one root prompt to the sub-prompt of each layer group (METHOD: root prompt, sub-prompt generator).

G groups, L prompt length, D width, R rank of the bottleneck; axis of size 2: keys, values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config.schema import BottleneckGenerator, DirectGenerator, LinearGenerator

ADAPTER_STD = 0.02


class SubPrompts(nn.Module):
    """The live sub-prompts of the current task; calling it gives [G, 2, L, D]."""

    def __init__(self, length: int, width: int, root_std: float) -> None:
        super().__init__()
        self.root_std = root_std
        self.root = nn.Parameter(torch.empty(2, length, width))

    def reset_root(self, random: torch.Generator) -> None:
        """i.i.d. Gaussian entries."""
        draw(self.root, self.root_std, random)

    def reset_generator(self, random: torch.Generator) -> None:
        """As at the first task: every sub-prompt equals the root."""

    def forward(self) -> Tensor:
        raise NotImplementedError


class BottleneckSubPrompts(SubPrompts):
    """S_g = R + W_up GELU(W_down R + b_down) + b_up, W_up and b_up zero at first."""

    def __init__(self, groups: int, length: int, width: int, root_std: float, rank: int) -> None:
        super().__init__(length, width, root_std)
        self.down = nn.Parameter(torch.empty(groups, width, rank))
        self.down_bias = nn.Parameter(torch.empty(groups, rank))
        self.up = nn.Parameter(torch.empty(groups, rank, width))
        self.up_bias = nn.Parameter(torch.empty(groups, width))

    def reset_generator(self, random: torch.Generator) -> None:
        draw(self.down, ADAPTER_STD, random)
        for zero in (self.down_bias, self.up, self.up_bias):
            nn.init.zeros_(zero)

    def forward(self) -> Tensor:
        hidden = torch.einsum("kld,gdr->gklr", self.root, self.down) + self.down_bias[:, None, None]
        change = torch.einsum("gklr,grd->gkld", functional.gelu(hidden), self.up)
        return self.root + change + self.up_bias[:, None, None]


class LinearSubPrompts(SubPrompts):
    """S_g = R + W_g R + b_g, zero at first."""

    def __init__(self, groups: int, length: int, width: int, root_std: float) -> None:
        super().__init__(length, width, root_std)
        self.weight = nn.Parameter(torch.empty(groups, width, width))
        self.bias = nn.Parameter(torch.empty(groups, width))

    def reset_generator(self, random: torch.Generator) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self) -> Tensor:
        return self.root + torch.einsum("kld,ged->gkle", self.root, self.weight) + self.bias[:, None, None]


class DirectSubPrompts(SubPrompts):
    """Every group's sub-prompt is free: the `root` of this one has a group axis and is the sub-prompts."""

    def __init__(self, groups: int, length: int, width: int, root_std: float) -> None:
        super().__init__(length, width, root_std)
        self.root = nn.Parameter(torch.empty(groups, 2, length, width))

    def forward(self) -> Tensor:
        return self.root.clone()


def sub_prompts(
    spec: BottleneckGenerator | LinearGenerator | DirectGenerator,
    *,
    groups: int,
    length: int,
    width: int,
    root_std: float,
) -> SubPrompts:
    """The generator that `method.generator` names."""
    if isinstance(spec, BottleneckGenerator):
        return BottleneckSubPrompts(groups, length, width, root_std, spec.rank)
    if isinstance(spec, LinearGenerator):
        return LinearSubPrompts(groups, length, width, root_std)
    return DirectSubPrompts(groups, length, width, root_std)


@torch.no_grad()
def draw(parameter: nn.Parameter, std: float, random: torch.Generator) -> None:
    """Fill with a Gaussian drawn on the host, so that every device and rank gets the same values."""
    if not parameter.is_meta:
        parameter.copy_(torch.randn(parameter.shape, generator=random) * std)
