"""From one root prompt to the sub-prompt of each layer group (METHOD: root prompt, sub-prompt generator).

G groups, P parts (2: keys and values; 1: tokens), L prompt length, D width, R rank of the bottleneck.
Generators have an axis A before the width: P where keys and values have their own, else 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config import hlgp_options
from hlgp_dist.methods.initialisation import gaussian_

ADAPTER_STD = 0.02


@dataclass(frozen=True)
class PromptShape:
    """Of a task's sub-prompts [G, P, L, D]; root_std: of the root's Gaussian entries."""

    groups: int
    parts: int
    length: int
    width: int
    root_std: float


class SubPrompts(nn.Module):
    """The live sub-prompts of the current task; calling it gives [G, P, L, D]."""

    def __init__(self, shape: PromptShape) -> None:
        super().__init__()
        self.root_std = shape.root_std
        self.root = nn.Parameter(torch.empty(shape.parts, shape.length, shape.width))

    def reset_root(self, random: torch.Generator) -> None:
        """i.i.d. Gaussian entries."""
        gaussian_(self.root, self.root_std, random)

    def reset_generator(self, random: torch.Generator) -> None:
        """As at the first task: every sub-prompt equals the root."""

    def generator(self) -> list[nn.Parameter]:
        """The parameters beside the root."""
        return [parameter for parameter in self.parameters() if parameter is not self.root]

    def forward(self) -> Tensor:
        raise NotImplementedError


class BottleneckSubPrompts(SubPrompts):
    """S_g = R + W_up GELU(W_down R + b_down) + b_up, W_up and b_up zero at first."""

    def __init__(self, shape: PromptShape, own: int, rank: int) -> None:
        super().__init__(shape)
        groups, width = shape.groups, shape.width
        self.down = nn.Parameter(torch.empty(groups, own, width, rank))
        self.down_bias = nn.Parameter(torch.empty(groups, own, 1, rank))
        self.up = nn.Parameter(torch.empty(groups, own, rank, width))
        self.up_bias = nn.Parameter(torch.empty(groups, own, 1, width))

    def reset_generator(self, random: torch.Generator) -> None:
        gaussian_(self.down, ADAPTER_STD, random)
        for zero in (self.down_bias, self.up, self.up_bias):
            nn.init.zeros_(zero)

    def forward(self) -> Tensor:
        hidden = functional.gelu(self.root @ self.down + self.down_bias)
        return self.root + hidden @ self.up + self.up_bias


class LinearSubPrompts(SubPrompts):
    """S_g = R + W_g R + b_g, zero at first."""

    def __init__(self, shape: PromptShape, own: int) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.empty(shape.groups, own, shape.width, shape.width))
        self.bias = nn.Parameter(torch.empty(shape.groups, own, 1, shape.width))

    def reset_generator(self, random: torch.Generator) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self) -> Tensor:
        return self.root + self.root @ self.weight.mT + self.bias


class ScaleShiftSubPrompts(SubPrompts):
    """S_g = a_g * R + b_g, one and zero at first."""

    def __init__(self, shape: PromptShape, own: int) -> None:
        super().__init__(shape)
        self.scale = nn.Parameter(torch.empty(shape.groups, own, 1, shape.width))
        self.shift = nn.Parameter(torch.empty(shape.groups, own, 1, shape.width))

    def reset_generator(self, random: torch.Generator) -> None:
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self) -> Tensor:
        return self.scale * self.root + self.shift


class DirectSubPrompts(SubPrompts):
    """Every group's sub-prompt is free: the `root` of this one has a group axis and is the sub-prompts."""

    def __init__(self, shape: PromptShape) -> None:
        super().__init__(shape)
        self.root = nn.Parameter(torch.empty(shape.groups, *self.root.shape))

    def forward(self) -> Tensor:
        return self.root.clone()


def sub_prompts(spec: hlgp_options.Generator, shape: PromptShape) -> SubPrompts:
    """The generator that `method.generator` names."""
    if isinstance(spec, hlgp_options.DirectGenerator):
        return DirectSubPrompts(shape)
    own = shape.parts if spec.separate_kv else 1
    if isinstance(spec, hlgp_options.BottleneckGenerator):
        return BottleneckSubPrompts(shape, own, spec.rank)
    if isinstance(spec, hlgp_options.LinearGenerator):
        return LinearSubPrompts(shape, own)
    return ScaleShiftSubPrompts(shape, own)
