"""Frozen linear layers in 8 bits: weights a step a row, inputs a step a token, products of integers.

M tokens, K inputs, N outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 127
TINY = 1e-12
"""Keeps a row of zeros from a division by zero."""


def to_eight_bit(module: nn.Module) -> None:
    """Every linear layer inside, in place."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, EightBitLinear(part))
        else:
            to_eight_bit(part)


class EightBitLinear(nn.Linear):
    """In the place of a frozen layer, half as large as in bf16. Its gradient for the input is that of the rounded
    weights, a product in the input's dtype; it has none for itself.
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        rounded, step = _rounded(layer.weight.detach())
        self.register_buffer("weight", rounded)
        self.register_buffer("step", step[:, 0])
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        out: Tensor = _Product.apply(x.flatten(0, -2), self.weight, self.step)
        out = out if self.bias is None else out + self.bias
        return out.unflatten(0, x.shape[:-1])  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    """[M, K] by int8 [N, K] with steps [N], to [M, N]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(weight, step)
        rounded, step_of_token = _rounded(x)
        return (torch._int_mm(rounded, weight.t()) * (step_of_token * step)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, step = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ (weight * step[:, None]).to(gradient.dtype), None, None


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8, and the step [rows, 1] in fp32 that its numbers count."""
    step = rows.abs().amax(1, keepdim=True).float().clamp(min=TINY) / LARGEST
    return (rows / step).round().to(torch.int8), step
