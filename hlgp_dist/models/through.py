"""One of timm's blocks, of all tokens or of the leading ones alone. B batch, S tokens, A asked for, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models.vision_transformer import ResPostBlock
from torch import Tensor

Through = Callable[[Any, Tensor], Tensor]
"""Of a timm block and tokens."""


def through_block(block: Any, x: Tensor) -> Tensor:
    """Tokens [B, S, D] to [B, S, D], or where the block's attention is asked for A of them to [B, A, D].

    Then all that has no part in the others' keys and values is computed for these alone. A trunk drops nothing.
    """
    asked = block.attn.num_asked
    if asked is None:
        return block(x)  # type: ignore[no-any-return]
    leading = x[:, :asked]
    if isinstance(block, ResPostBlock):
        leading = leading + block.norm1(block.attn(x))
        return leading + block.norm2(block.mlp(leading))  # type: ignore[no-any-return]
    leading = leading + block.ls1(block.attn(block.norm1(x)))
    return leading + block.ls2(block.mlp(block.norm2(leading)))  # type: ignore[no-any-return]
