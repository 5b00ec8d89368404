"""Prompts inside the attention of a timm ViT, by wrapping `block.attn`.

B batch, S tokens, A asked for, L prefix length, H heads, K width of a head, D width of the attention (H * K).
"""

from __future__ import annotations

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.models.injection import ClsAddition, Prefix

_AT_ONCE = 2
"""Pictures: their scores, a megabyte or two, stay in a core's cache from one operation to the next."""


class PromptedAttention(nn.Module):
    """A timm Attention that joins a prompt to its keys (after their norm) and values while one is set."""

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner
        self.prompt: Prefix | ClsAddition | None = None
        self.num_asked: int | None = None
        """Leading tokens whose outputs are computed, None: all."""
        self.num_seen = 0
        """Pictures, whoever called."""
        self.device_type: str | None = None
        """Of a plan, which computes on `meta`: the device that it is about."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """[B, S, D] to [B, A, D]."""
        assert attn_mask is None and not is_causal, "a ViT's blocks mask nothing"
        if not torch.compiler.is_compiling():  # or it would be compiled for each value of it
            self.num_seen += len(x)
        inner = self.inner
        batch, tokens, _ = x.shape
        qkv = inner.qkv(x).reshape(batch, tokens, 3, inner.num_heads, inner.head_dim)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))  # so gradients are joined as qkv has them
        query, x = query[:, :, : self.num_asked], x[:, : self.num_asked]
        query, key = inner.q_norm(query), inner.k_norm(key)
        if self.prompt is not None:
            key, value = self._joined(self.prompt, key, value)
        out = attend(query, key, value, inner.scale, self.device_type or key.device.type)
        out = inner.norm(out.transpose(1, 2).reshape(*x.shape[:2], inner.attn_dim))
        if inner.gate is not None:
            out = out * inner.gate(x).sigmoid()
        return inner.proj_drop(inner.proj(out))  # type: ignore[no-any-return]

    def _joined(self, prompt: Prefix | ClsAddition, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        # Not len(key), which torch.export takes for a constant.
        prompt_key, prompt_value = self._by_head(prompt, key.shape[0], key.dtype)
        join = _before if isinstance(prompt, Prefix) else _onto_cls
        return join(prompt_key, key), join(prompt_value, value)

    def _by_head(self, prompt: Prefix | ClsAddition, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of the prompt, each [B, H, L, K] (L = 1 for an addition)."""
        vectors = prompt.vectors if isinstance(prompt, Prefix) else prompt.vectors[:, :, None]
        vectors = vectors.to(dtype)
        vectors = vectors.view(*vectors.shape[:3], self.inner.num_heads, self.inner.head_dim).transpose(2, 3)
        key, value = vectors.expand(batch, *vectors.shape[1:]).unbind(1)
        return key, value


def _before(prompt: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([prompt, tokens], 2)


def _onto_cls(prompt: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([tokens[:, :, :1] + prompt, tokens[:, :, 1:]], 2)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, device_type: str) -> Tensor:
    """softmax(query key^T scale) value, of [B, H, A, K] with [B, H, L + S, K]; fused except where a CPU loses by it.

    There the fused kernel's backward pass takes three times as long as plain products, and in bf16 its forward pass
    half as long again as products over a few pictures at a time, whose scores stay in the cache. docs/log.md.
    """
    is_fused = device_type != "cpu" or (query.dtype == torch.float32 and not key.requires_grad)
    if is_fused:
        return functional.scaled_dot_product_attention(query, key, value, scale=scale)
    if key.requires_grad or torch.compiler.is_compiling():
        return _in_steps(query, key, value, scale)
    parts = zip(query.split(_AT_ONCE), key.split(_AT_ONCE), value.split(_AT_ONCE), strict=True)
    return torch.cat([_in_steps(*part, scale) for part in parts])


def _in_steps(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The softmax adds in fp32 whatever it is given."""
    return (query * scale @ key.mT).softmax(-1) @ value
