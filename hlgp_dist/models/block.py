"""A block of the trunk that takes a prompt. B batch, S tokens, L prompt length, D width."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hlgp_dist.models.attention import PromptedAttention
from hlgp_dist.models.injection import BlockPrompt, ClsAddition, Injection, Prefix, Tokens
from hlgp_dist.models.through import Through, through_block


class PromptedBlock(nn.Module):
    """A timm block that asks the injection of a pass for its prompt; without one it is the block alone."""

    def __init__(self, inner: nn.Module, index: int, num_prefix_tokens: int) -> None:
        super().__init__()
        self.inner = inner
        inner.attn = PromptedAttention(inner.attn)
        self.index = index
        self.first_patch = num_prefix_tokens
        self.injection: Injection | None = None
        self.num_asked: int | None = None
        """Leading tokens that anything looks at behind it, None: all."""
        self.through: Through = through_block
        self.recomputes = False
        """Whether all but its input is computed again in a backward pass, and not kept for it."""
        self.again: Callable[[], AbstractContextManager[object]] = nullcontext
        """Of a plan, which computes on `meta`: what surrounds that, as the first time."""

    @property
    def attention(self) -> PromptedAttention:
        return self.inner.attn  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        prompt = self.injection.layer(self.index) if self.injection is not None else None
        if not self.recomputes or not self._keeps(x, prompt):
            return self._prompted(x, prompt, self.num_asked)
        return checkpoint(
            self._prompted,
            x,
            prompt,
            self.num_asked,
            use_reentrant=False,
            preserve_rng_state=False,  # a trunk is in eval mode and draws nothing
            context_fn=lambda: (nullcontext(), self.again()),
        )

    def _keeps(self, x: Tensor, prompt: BlockPrompt | None) -> bool:
        """Whether a backward pass would need what is computed here: nothing is kept below the first prompt."""
        is_trained = next(self.inner.parameters()).requires_grad
        asks = x.requires_grad or is_trained or (prompt is not None and prompt.vectors.requires_grad)
        return torch.is_grad_enabled() and asks

    def _prompted(self, x: Tensor, prompt: BlockPrompt | None, num_asked: int | None) -> Tensor:
        if isinstance(prompt, Tokens):
            return self._among_tokens(x, prompt, num_asked)
        return self._through(x, prompt, num_asked)

    def _through(self, x: Tensor, prompt: Prefix | ClsAddition | None, num_asked: int | None) -> Tensor:
        self.attention.prompt, self.attention.num_asked = prompt, num_asked
        try:
            return self.through(self.inner, x)
        finally:
            self.attention.prompt = self.attention.num_asked = None

    def _among_tokens(self, x: Tensor, prompt: Tokens, num_asked: int | None) -> Tensor:
        """Tokens that are dropped again are asked for, too, where one behind them is."""
        first, length = self.first_patch, prompt.vectors.shape[1]
        if not prompt.keep and num_asked is not None and num_asked > first:
            num_asked += length
        tokens = prompt.vectors.to(x.dtype).expand(x.shape[0], -1, -1)
        x = self._through(torch.cat([x[:, :first], tokens, x[:, first:]], 1), None, num_asked)
        return x if prompt.keep else torch.cat([x[:, :first], x[:, first + length :]], 1)
