"""Prefix tuning by wrapping `block.attn` of a timm ViT (METHOD: prefix keys and values, queries unchanged).

B batch, S tokens, L prefix length, H heads, K width of a head, D width of the attention (H * K).
"""

from __future__ import annotations

from typing import Protocol

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional


class Prefixes(Protocol):
    """Prefix keys and values of every block, made when the block asks for them."""

    def layer(self, index: int) -> Tensor | None:
        """[1 or B, 2, L, D] of block `index` (dim 1: key, value), or None for a block without a prompt."""


class PrefixAttention(nn.Module):
    """A timm Attention that puts a prefix before its keys (after their norm) and values while one is set."""

    def __init__(self, inner: Attention, index: int) -> None:
        super().__init__()
        self.inner = inner
        self.index = index
        self.prefixes: Prefixes | None = None

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        prefix = None if self.prefixes is None else self.prefixes.layer(self.index)
        if prefix is None:
            return self.inner(x, attn_mask=attn_mask, is_causal=is_causal)  # type: ignore[no-any-return]
        assert attn_mask is None and not is_causal, "a prefix joins unmasked attention only"
        return self._with_prefix(x, prefix)

    def _with_prefix(self, x: Tensor, prefix: Tensor) -> Tensor:
        inner = self.inner
        batch, tokens, _ = x.shape
        qkv = inner.qkv(x).reshape(batch, tokens, 3, inner.num_heads, inner.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        query, key = inner.q_norm(query), inner.k_norm(key)
        prefix = prefix.to(key.dtype)
        prefix = prefix.view(*prefix.shape[:3], inner.num_heads, inner.head_dim).transpose(2, 3)
        prefix_key, prefix_value = prefix.expand(batch, *prefix.shape[1:]).unbind(1)  # each [B, H, L, K]
        out = attend(query, torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2), inner.scale)
        out = inner.norm(out.transpose(1, 2).reshape(batch, tokens, inner.attn_dim))
        if inner.gate is not None:
            out = out * inner.gate(x).sigmoid()
        return inner.proj_drop(inner.proj(out))  # type: ignore[no-any-return]


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(query key^T scale) value, of [B, H, S, K] with [B, H, L + S, K]; fused except for training on a CPU.

    There the fused kernel's backward pass costs more than it saves: a training step takes 1.6 times as long with it.
    """
    if key.requires_grad and key.device.type == "cpu":
        return (query * scale @ key.mT).softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return functional.scaled_dot_product_attention(query, key, value, scale=scale)
