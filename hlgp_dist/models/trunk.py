"""The frozen backbone: pictures to one feature vector, with or without prefixes.

B batch, R pixels of a side, F width of the pooled feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from hlgp_dist.models.attention import PrefixAttention, Prefixes
from hlgp_dist.types import PictureSize


@dataclass(frozen=True)
class Dimensions:
    """What a method must know of a trunk, read from the model. `width` is that of a block's keys and values."""

    depth: int
    width: int
    feature_width: int


@dataclass(frozen=True)
class InputFormat:
    """How the trunk wants its pictures: size, and mean and deviation of each channel."""

    size: PictureSize
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Trunk(nn.Module):
    """A timm VisionTransformer, frozen: no gradients for its weights, always in eval mode."""

    mean: Tensor
    std: Tensor

    def __init__(self, vit: VisionTransformer, input_format: InputFormat) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(False).eval()
        self.input_format = input_format
        device = next(vit.parameters()).device
        self.register_buffer("mean", torch.tensor(input_format.mean, device=device).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input_format.std, device=device).view(1, 3, 1, 1), persistent=False)
        for index, block in enumerate(vit.blocks):
            block.attn = PrefixAttention(block.attn, index)

    @property
    def dimensions(self) -> Dimensions:
        width = self.vit.blocks[0].attn.inner.attn_dim
        return Dimensions(len(self.vit.blocks), width, self.vit.head_hidden_size)

    def train(self, mode: bool = True) -> Trunk:
        """Frozen means eval mode too, whatever the module around it does."""
        return super().train(False)

    def forward(self, images: Tensor, prefixes: Prefixes | None = None) -> Tensor:
        """Pooled features [B, F] in fp32 of float pictures [B, 3, R, R] in 0..1.

        Without prefixes this is timm's `forward_head(forward_features(x), pre_logits=True)`, bit for bit.
        """
        pixels = ((images - self.mean) / self.std).to(self.vit.patch_embed.proj.weight.dtype)
        self._set_prefixes(prefixes)
        try:
            tokens = self.vit.forward_features(pixels)
        finally:
            self._set_prefixes(None)
        return self.vit.forward_head(tokens, pre_logits=True).float()  # type: ignore[no-any-return]

    def _set_prefixes(self, prefixes: Prefixes | None) -> None:
        for block in self.vit.blocks:
            block.attn.prefixes = prefixes
