"""What a method puts into a pass through the trunk: at most one prompt a block, made when the block asks for it.

B batch (or 1: the same for every picture), L prompt length, D width of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Prefix(NamedTuple):
    """vectors [B, 2, L, D]: keys and values before those of the tokens; queries stay (METHOD 2.1)."""

    vectors: Tensor


class ClsAddition(NamedTuple):
    """vectors [B, 2, D]: added to key and value of the CLS token (METHOD 2.3)."""

    vectors: Tensor


class Tokens(NamedTuple):
    """vectors [B, L, D]: tokens between CLS and the patches (METHOD 2.2), dropped behind the block unless `keep`."""

    vectors: Tensor
    keep: bool = False


BlockPrompt = Prefix | ClsAddition | Tokens


class Injection:
    """The prompts of one pass. This one injects nothing."""

    num_kept = 0
    """Tokens that stay to the end; the mean of what becomes of them is then the feature."""

    def layer(self, index: int) -> BlockPrompt | None:
        """What block `index` gets."""
        return None


class ByBlock(Injection):
    """Prompts that are there beforehand, by block index."""

    def __init__(self, prompts: Mapping[int, BlockPrompt], num_kept: int = 0) -> None:
        self.prompts = prompts
        self.num_kept = num_kept

    def layer(self, index: int) -> BlockPrompt | None:
        return self.prompts.get(index)
