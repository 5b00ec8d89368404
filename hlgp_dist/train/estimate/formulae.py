"""FLOPs of a ViT in closed form, 2 a multiply-add: what `costs` counts op by op, as docs/plan.md writes it down.

S tokens, Q of them with an output (in the last block those that the feature is made of, else all), P patches of E
multiply-adds each, L prompt vectors in a block's keys and values, A width of the attention, W weights of a block's
matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train.estimate.kernels import Device

FUSED, UNFUSED = 5, 4
"""Products of Q x (S + L) x A in an attention's backward pass: a fused kernel computes the scores again."""


@dataclass(frozen=True)
class PassShape:
    """Of one picture's way through a trunk. asked: Q of each block; qkv, weights: multiply-adds a token in each block,
    in qkv and in all.
    """

    patches: int
    tokens: int
    embedding: int
    attention_width: int
    asked: tuple[int, ...]
    qkv: tuple[int, ...]
    weights: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.weights)


def pass_shape(trunk: Trunk) -> PassShape:
    """Read from the model."""
    vit = trunk.vit
    patches = vit.patch_embed.num_patches
    tokens = patches + vit.num_prefix_tokens
    matrices = [
        sum(part.weight.numel() for part in block.modules() if isinstance(part, nn.Linear)) for block in vit.blocks
    ]
    return PassShape(
        patches=patches,
        tokens=tokens,
        embedding=vit.patch_embed.proj.weight.numel(),
        attention_width=vit.blocks[0].attention.inner.attn_dim,
        asked=(tokens,) * (len(vit.blocks) - 1) + (trunk.num_pooled or tokens,),
        qkv=tuple(block.attention.inner.qkv.weight.numel() for block in vit.blocks),
        weights=tuple(matrices),
    )


def forward_flops(shape: PassShape, length: int = 0, first: int = 0) -> int:
    """2 P E + sum over blocks of 2 S W_qkv + 2 Q (W - W_qkv) + 4 Q (S + L) A; a prefix from block `first` on."""
    return shared_flops(shape, first) + sum(_block(shape, block, length) for block in range(first, shape.depth))


def shared_flops(shape: PassShape, first: int = 0) -> int:
    """Of a pass what is below the first prompt: a second pass over the same picture takes it from the first."""
    return 2 * shape.patches * shape.embedding + sum(_block(shape, block, 0) for block in range(first))


def backward_flops(shape: PassShape, length: int, device: Device, first: int = 0) -> int:
    """Of a frozen trunk whose blocks from `first` on have a prefix that trains.

    There are gradients of tokens but none of weights: a block's products with matrices and the attention's. Before the
    first prefix there are none, and in its block only of what lies behind qkv.
    """
    products = FUSED if device == "cuda" else UNFUSED
    unneeded = _qkv(shape, first) + (0 if device == "cuda" else _product(shape, first, length))  # by its queries
    blocks = range(first, shape.depth)
    return sum(_matrices(shape, block) + products * _product(shape, block, length) for block in blocks) - unneeded


def _block(shape: PassShape, block: int, length: int) -> int:
    return _matrices(shape, block) + 2 * _product(shape, block, length)


def _matrices(shape: PassShape, block: int) -> int:
    behind = shape.weights[block] - shape.qkv[block]
    return _qkv(shape, block) + 2 * shape.asked[block] * behind


def _qkv(shape: PassShape, block: int) -> int:
    return 2 * shape.tokens * shape.qkv[block]


def _product(shape: PassShape, block: int, length: int) -> int:
    """Of queries with keys, or of scores with values."""
    return 2 * shape.asked[block] * (shape.tokens + length) * shape.attention_width
