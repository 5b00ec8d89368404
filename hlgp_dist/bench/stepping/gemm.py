"""What the device's matrix products reach by themselves, on random operands of the trunk's own shapes.

M rows (all tokens of a batch), K and N the columns of a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.models.trunk import Trunk

REPEATS = 3


@dataclass(frozen=True, order=True)
class Product:
    """[M, K] by [K, N]."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.columns

    def __str__(self) -> str:
        return f"{self.rows} x {self.inner} x {self.columns}"


def products_of(trunk: Trunk, batch_size: int) -> list[Product]:
    """Of the linear layers of its blocks, each shape once."""
    vit = trunk.vit
    rows = batch_size * (vit.patch_embed.num_patches + vit.num_prefix_tokens)
    layers = [part for block in vit.blocks for part in block.modules() if isinstance(part, nn.Linear)]
    return sorted({Product(rows, layer.in_features, layer.out_features) for layer in layers})


class GemmPeak:
    """Calling it measures each shape: FLOP/s, the fastest of a few products."""

    def __init__(self, products: list[Product], dtype: torch.dtype, clock: Clock) -> None:
        self._clock = clock
        self._operands = {product: _operands(product, dtype, clock.device) for product in products}

    def __call__(self) -> dict[Product, float]:
        return {product: product.flops / self._seconds(*operands) for product, operands in self._operands.items()}

    def _seconds(self, left: Tensor, right: Tensor, out: Tensor) -> float:
        return min(self._clock.each(lambda: torch.mm(left, right.mT, out=out)) for _ in range(REPEATS))


def _operands(product: Product, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """[M, K], a weight [N, K] and what becomes of them, [M, N]."""
    left, right = (torch.randn(rows, product.inner, device=device) for rows in (product.rows, product.columns))
    return left.to(dtype), right.to(dtype), torch.empty(product.rows, product.columns, dtype=dtype, device=device)
