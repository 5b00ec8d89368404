"""Of the last block only what a feature is made of: the same features and gradients, by fewer products."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from hlgp_dist.models.injection import BlockPrompt, ByBlock, ClsAddition, Prefix, Tokens
from hlgp_dist.models.trunk import Trunk
from tests.models.small import WIDTH, small_trunk

LENGTH = 3
ARCHITECTURES: dict[str, dict[str, object]] = {
    "vit_base_patch16_224.augreg_in21k": {},
    "vit_small_patch14_reg4_dinov2.lvd142m": {},
    "vit_base_patch16_rpn_224.sw_in1k": {},  # norms behind attention and MLP
    "vit_base_patch16_224": {"qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
}
BASE, REGISTERS = tuple(ARCHITECTURES)[:2]
TOKEN = {"class_token": True, "global_pool": "token"}
PROMPTS: dict[str, Callable[[Tensor], BlockPrompt]] = {
    "prefix": lambda vectors: Prefix(vectors),
    "cls": lambda vectors: ClsAddition(vectors[:, :, 0]),
    "tokens": lambda vectors: Tokens(vectors[:, 0]),
    "tokens that stay": lambda vectors: Tokens(vectors[:, 0], keep=True),
}


def tokens_behind_the_last_block(trunk: Trunk, call: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What the call returns, and how many tokens a picture it computed there."""
    seen: list[int] = []
    hook = trunk.vit.blocks[-1].register_forward_hook(lambda module, inputs, tokens: seen.append(tokens.shape[1]))
    out = call()
    hook.remove()
    return out, seen[0]


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_feature_and_its_gradient_are_those_of_all_tokens(name: str, kind: str, recomputes: bool) -> None:
    trunk, images = small_trunk(name, **TOKEN | ARCHITECTURES[name]), torch.rand(2, 3, 56, 56)
    trunk.recompute_blocks(recomputes)
    vectors = torch.randn(2, 2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    features, gradients, counts = [], [], []
    for trunk.cuts_last_block in (False, True):
        prompts = ByBlock({0: Prefix(vectors), 1: PROMPTS[kind](vectors)})
        out, count = tokens_behind_the_last_block(trunk, lambda prompts=prompts: trunk(images, prompts))
        features.append(out.detach())
        gradients += torch.autograd.grad((out * torch.linspace(-1, 1, WIDTH)).sum(), vectors)
        counts.append(count)
    assert counts[0] > counts[1] == 1
    torch.testing.assert_close(features[1], features[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)


def mean_of_kept(trunk: Trunk, images: Tensor, prompts: Mapping[int, BlockPrompt]) -> Tensor:
    """The feature that LENGTH tokens behind the prefix tokens make, where all tokens are computed."""
    whole: list[Tensor] = []
    hook = trunk.vit.norm.register_forward_hook(lambda module, inputs, tokens: whole.append(tokens))
    trunk.cuts_last_block = False
    trunk(images, ByBlock(prompts))
    hook.remove()
    first = trunk.vit.num_prefix_tokens
    return trunk.vit.fc_norm(whole[0][:, first : first + LENGTH].mean(1))


@pytest.mark.parametrize("depth", [1, 2])
def test_tokens_that_stay_are_computed_to_the_end(depth: int) -> None:
    trunk, images = small_trunk(REGISTERS, depth=depth), torch.rand(2, 3, 56, 56)
    added = torch.randn(1, LENGTH, WIDTH)
    prompts = ByBlock({0: Tokens(added, keep=True)}, num_kept=LENGTH)
    found, count = tokens_behind_the_last_block(trunk, lambda: trunk(images, prompts))
    assert count == trunk.vit.num_prefix_tokens + LENGTH
    torch.testing.assert_close(found, mean_of_kept(trunk, images, prompts.prompts), atol=1e-5, rtol=1e-5)


def test_others_may_be_put_before_them_in_the_last_block() -> None:
    """And be dropped behind it."""
    trunk, images = small_trunk(REGISTERS), torch.rand(2, 3, 56, 56)
    stay, go = torch.randn(1, LENGTH, WIDTH), torch.randn(1, 2, WIDTH)
    prompts = {0: Tokens(stay, keep=True), 1: Tokens(go)}
    found, count = tokens_behind_the_last_block(trunk, lambda: trunk(images, ByBlock(prompts, num_kept=LENGTH)))
    assert count == trunk.vit.num_prefix_tokens + LENGTH
    torch.testing.assert_close(found, mean_of_kept(trunk, images, prompts), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["avg", "avgmax", "max", "map"])
def test_a_mean_over_patches_has_all_of_them(pool: str) -> None:
    trunk, images = small_trunk(BASE, global_pool=pool), torch.rand(2, 3, 56, 56)
    _, count = tokens_behind_the_last_block(trunk, lambda: trunk(images))
    assert count == trunk.vit.patch_embed.num_patches + trunk.vit.num_prefix_tokens


def test_mean_patches_have_all_of_them_whatever_the_feature_is() -> None:
    trunk, images = small_trunk(BASE), torch.rand(2, 3, 56, 56)
    found, count = tokens_behind_the_last_block(trunk, lambda: trunk.with_patches(images))
    assert count > 1 and found.shape == (2, 2 * WIDTH)
    torch.testing.assert_close(found[:, :WIDTH], trunk(images), atol=1e-5, rtol=1e-5)
