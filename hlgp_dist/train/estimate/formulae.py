"""FLOPs of a ViT in closed form, 2 a multiply-add: what `costs` counts op by op, as docs/plan.md writes it down.

S tokens, P patches of E multiply-adds each, L prompt vectors in a block's keys and values, A width of the attention,
W weights of a block's matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train.estimate.kernels import Device

FUSED, UNFUSED = 5, 4
"""Products of S x (S + L) x A in an attention's backward pass: a fused kernel computes the scores again."""


@dataclass(frozen=True)
class PassShape:
    """Of one picture's way through a trunk. qkv, weights: multiply-adds a token in each block, in qkv and in all."""

    patches: int
    tokens: int
    embedding: int
    attention_width: int
    qkv: tuple[int, ...]
    weights: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.weights)


def pass_shape(trunk: Trunk) -> PassShape:
    """Read from the model."""
    vit = trunk.vit
    patches = vit.patch_embed.num_patches
    matrices = [
        sum(part.weight.numel() for part in block.modules() if isinstance(part, nn.Linear)) for block in vit.blocks
    ]
    return PassShape(
        patches=patches,
        tokens=patches + vit.num_prefix_tokens,
        embedding=vit.patch_embed.proj.weight.numel(),
        attention_width=vit.blocks[0].attention.inner.attn_dim,
        qkv=tuple(block.attention.inner.qkv.weight.numel() for block in vit.blocks),
        weights=tuple(matrices),
    )


def forward_flops(shape: PassShape, length: int = 0, first: int = 0) -> int:
    """2 P E + sum over blocks of 2 S W + 4 S (S + L) A, with a prefix of length L in the blocks from `first` on."""
    prompted = 2 * shape.tokens * sum(shape.weights[first:]) + 2 * (shape.depth - first) * _product(shape, length)
    return shared_flops(shape, first) + prompted


def shared_flops(shape: PassShape, first: int = 0) -> int:
    """Of a pass what is below the first prompt: a second pass over the same picture takes it from the first."""
    embedding = 2 * shape.patches * shape.embedding
    return embedding + 2 * shape.tokens * sum(shape.weights[:first]) + 2 * first * _product(shape, 0)


def backward_flops(shape: PassShape, length: int, device: Device, first: int = 0) -> int:
    """Of a frozen trunk whose blocks from `first` on have a prefix that trains.

    There are gradients of tokens but none of weights: 2 S W a block and the attention's. Before the first prefix there
    are none, and in its block only of what lies behind qkv.
    """
    behind = sum(shape.weights[first:]) - shape.qkv[first]
    blocks = shape.depth - first
    products = FUSED * blocks if device == "cuda" else UNFUSED * blocks - 1  # the first block's queries need none
    return 2 * shape.tokens * behind + products * _product(shape, length)


def _product(shape: PassShape, length: int) -> int:
    """Of queries with keys, or of scores with values."""
    return 2 * shape.tokens * (shape.tokens + length) * shape.attention_width
