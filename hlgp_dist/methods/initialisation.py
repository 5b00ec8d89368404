"""First values, drawn on the host, so that every device and rank gets the same; on `meta` there are none."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def gaussian_(parameter: Tensor, std: float, random: torch.Generator) -> None:
    """i.i.d. N(0, std^2)."""
    if not parameter.is_meta:
        parameter.copy_(torch.randn(parameter.shape, generator=random) * std)


@torch.no_grad()
def truncated_(parameter: Tensor, std: float, random: torch.Generator) -> None:
    """i.i.d. N(0, std^2) within two deviations."""
    if not parameter.is_meta:
        drawn = torch.empty(parameter.shape)
        parameter.copy_(nn.init.trunc_normal_(drawn, std=1.0, a=-2.0, b=2.0, generator=random) * std)


@torch.no_grad()
def uniform_(parameter: Tensor, random: torch.Generator) -> None:
    """i.i.d. U(-1, 1), as the pools of L2P and DualPrompt start."""
    if not parameter.is_meta:
        parameter.copy_(torch.rand(parameter.shape, generator=random) * 2.0 - 1.0)


@torch.no_grad()
def orthonormal_(parameter: Tensor, others: Tensor, random: torch.Generator) -> None:
    """Rows [K, F] orthonormal among themselves and orthogonal to the rows of `others` [M, F]; M + K <= F."""
    if parameter.is_meta:
        return
    rows = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    if len(others):
        basis = torch.linalg.qr(others.detach().double().cpu().T).Q
        rows = rows - (rows @ basis) @ basis.T
    parameter.copy_(torch.linalg.qr(rows.T).Q.T)
