"""A trunk's blocks through torch.compile: the same kernels for all blocks and for every batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from hlgp_dist.models.attention import PromptedAttention

VARIANTS = 64
"""With a gradient or without, with a prompt or without, of one picture or more: past torch's bound of eight a block
would silently run as it is."""
Through = Callable[[nn.Module, Tensor], Tensor]


def as_it_is(block: nn.Module, x: Tensor) -> Tensor:
    """One of timm's blocks, of tokens [B, S, D]."""
    return block(x)  # type: ignore[no-any-return]


def compiled() -> Through:
    """The same, by kernels that the first call of each variant makes or takes from the user's cache on this host.

    The number of pictures is left open, so that a smaller last batch compiles nothing and numbers do not hang on the
    order in which sizes come.
    """
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._inductor.config.force_fuse_int_mm_with_mul = True
    call = torch.compile(as_it_is)

    def through(block: nn.Module, x: Tensor) -> Tensor:
        attention = cast(PromptedAttention, block.attn)
        attention.num_seen += len(x)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        if attention.prompt is not None and len(attention.prompt.vectors) > 1:  # one a picture
            torch._dynamo.maybe_mark_dynamic(attention.prompt.vectors, 0)
        return call(block, x)

    return through
