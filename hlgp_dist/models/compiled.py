"""A trunk's blocks through torch.compile: the same kernels for every batch size and, but for the last, all blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hlgp_dist.errors import EnvironmentFailure, first_line
from hlgp_dist.models.attention import PromptedAttention
from hlgp_dist.models.through import Through, through_block

VARIANTS = 64
"""With a gradient or without, with a prompt or without, of one picture or more, of all tokens or the leading ones, in
int8 on a GPU of few rows or more: past torch's bound of eight a block would silently run as it is."""
COMPILER = (
    "Install a C++ compiler and Python's headers (Debian: g++ python3-dev); if they are there, see CXX and "
    "TORCHINDUCTOR_CACHE_DIR; or compile nothing."
)


def kernel_problem(device: str | torch.device) -> str | None:
    """Why torch.compile makes no kernel for the device here; None where it made a small one, or took it from the user's
    cache on this host.
    """
    try:
        torch.compile(torch.neg)(torch.ones(2, device=device))
    except Exception as error:  # torch's, Triton's and the compiler's own kinds
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """Of all that a compiler printed the line that says what is wrong."""
    return next((line.strip() for line in str(error).splitlines() if "error:" in line), first_line(error))


def compiled(device: str | torch.device) -> Through:
    """`through_block` by kernels that the first call of each variant makes or takes from the user's cache on this host.

    The number of pictures is left open, so that a smaller last batch compiles nothing (but of one picture) and numbers
    do not hang on the order in which sizes come.

    Raises:
        EnvironmentFailure: none can be made here.
    """
    problem = kernel_problem(device)
    if problem is not None:
        raise EnvironmentFailure(f"engine.compile: no kernel can be made here: {problem}. {COMPILER}")
    torch._dynamo.config.recompile_limit = VARIANTS
    call = torch.compile(through_block)

    def through(block: Any, x: Tensor) -> Tensor:
        attention: PromptedAttention = block.attn
        attention.num_seen += len(x)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        if attention.prompt is not None and len(attention.prompt.vectors) > 1:  # one a picture
            torch._dynamo.maybe_mark_dynamic(attention.prompt.vectors, 0)
        return call(block, x)

    return through
