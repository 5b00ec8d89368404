"""A trunk's blocks through torch.compile: the same kernels for every batch size and, but for the last, all blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hlgp_dist.models.attention import PromptedAttention
from hlgp_dist.models.through import Through, through_block

VARIANTS = 64
"""With a gradient or without, with a prompt or without, of one picture or more, of all tokens or the leading ones, in
int8 on a GPU of few rows or more: past torch's bound of eight a block would silently run as it is."""


def compiled() -> Through:
    """`through_block` by kernels that the first call of each variant makes or takes from the user's cache on this host.

    The number of pictures is left open, so that a smaller last batch compiles nothing and numbers do not hang on the
    order in which sizes come.
    """
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._inductor.config.force_fuse_int_mm_with_mul = True
    call = torch.compile(through_block)

    def through(block: Any, x: Tensor) -> Tensor:
        attention: PromptedAttention = block.attn
        attention.num_seen += len(x)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        if attention.prompt is not None and len(attention.prompt.vectors) > 1:  # one a picture
            torch._dynamo.maybe_mark_dynamic(attention.prompt.vectors, 0)
        return call(block, x)

    return through
