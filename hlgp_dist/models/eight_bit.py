"""Frozen linear layers in 8 bits: weights a step a row, inputs and gradients a step a token, products of integers.

M tokens, K inputs, N outputs. As SwitchBack rounds them (Wortsman et al. 2023, arXiv 2304.13013), whose third product,
the weights' gradient in 16 bits, a frozen layer has not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 127
TINY = 1e-30
"""Keeps a row of zeros from a division by zero; gradients are far smaller than tokens."""
FEWEST = 17
"""The fewest rows that `torch._int_mm` takes on a GPU."""


def to_eight_bit(module: nn.Module) -> None:
    """Every linear layer inside, in place."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, EightBitLinear(part))
        else:
            to_eight_bit(part)


class EightBitLinear(nn.Linear):
    """In the place of a frozen layer, half as large as in bf16. It has a gradient for its input, by the same rounded
    weights, and none for itself.
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
        return (_times(x, weight.t()) * step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, step = ctx.saved_tensors
        (gradient,) = gradients
        return _times(gradient * step, weight).to(gradient.dtype), None, None


def _times(rows: Tensor, weight: Tensor) -> Tensor:
    """[M, K], rounded, by int8 [K, N], to fp32 [M, N]."""
    rounded, step = _rounded(rows)
    count = rounded.shape[0]
    if rounded.is_cuda:
        rounded, weight = as_a_gpu_takes_them(rounded, weight)
    return torch._int_mm(rounded, weight)[:count] * step


def as_a_gpu_takes_them(rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Factors [M, K] and [K, N] of a product of integers: at least FEWEST rows, the second one column by column.

    A backward pass so copies a weight, little beside its tokens. By torch's rules; not run on a GPU.
    """
    missing = FEWEST - rows.shape[0]
    if missing > 0:
        rows = functional.pad(rows, (0, 0, 0, missing))
    return rows, weight.t().contiguous().t()


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8, and the step [rows, 1] in fp32 that its numbers count."""
    step = rows.abs().amax(1, keepdim=True).float().clamp(min=TINY) / LARGEST
    return (rows / step).round().to(torch.int8), step
