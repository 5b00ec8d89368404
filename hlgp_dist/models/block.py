"""A block of the trunk that takes a prompt. B batch, S tokens, L prompt length, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlgp_dist.models.attention import PromptedAttention
from hlgp_dist.models.compiled import Through, as_it_is
from hlgp_dist.models.injection import Injection, Tokens


class PromptedBlock(nn.Module):
    """A timm block that asks the injection of a pass for its prompt; without one it is the block alone."""

    def __init__(self, inner: nn.Module, index: int, num_prefix_tokens: int) -> None:
        super().__init__()
        self.inner = inner
        inner.attn = PromptedAttention(inner.attn)
        self.index = index
        self.first_patch = num_prefix_tokens
        self.injection: Injection | None = None
        self.through: Through = as_it_is

    @property
    def attention(self) -> PromptedAttention:
        return self.inner.attn  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        prompt = self.injection.layer(self.index) if self.injection is not None else None
        if isinstance(prompt, Tokens):
            return self._among_tokens(x, prompt)
        self.attention.prompt = prompt
        try:
            return self.through(self.inner, x)
        finally:
            self.attention.prompt = None

    def _among_tokens(self, x: Tensor, prompt: Tokens) -> Tensor:
        first, length = self.first_patch, prompt.vectors.shape[1]
        tokens = prompt.vectors.to(x.dtype).expand(len(x), -1, -1)
        x = self.through(self.inner, torch.cat([x[:, :first], tokens, x[:, first:]], 1))
        return x if prompt.keep else torch.cat([x[:, :first], x[:, first + length :]], 1)
