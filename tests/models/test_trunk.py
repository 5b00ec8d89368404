"""The trunk is timm's model until a prefix is set; then it is prefix attention by the book."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hlgp_dist.config.schema import Backbone
from hlgp_dist.errors import ConfigError
from hlgp_dist.models.backbone import create_vit, input_format, meta_trunk
from hlgp_dist.models.injection import Injection, Prefix
from hlgp_dist.models.input import InputFormat, Normalisation
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import PictureSize
from tests.models.small import SMALL, small_trunk

ARCHITECTURES = {
    "vit_base_patch16_224.augreg_in21k": {},
    "vit_small_patch14_dinov2.lvd142m": {},
    "vit_small_patch14_reg4_dinov2.lvd142m": {},
    "vit_base_patch16_clip_224.openai": {},
    "vit_base_patch16_siglip_224.webli": {},
    "vit_base_patch16_rpn_224.sw_in1k": {},
    "vit_giant_patch14_clip_224.laion2b": {},
    "vit_little_patch16_reg4_gap_256.sbb_in1k": {},
    "vit_base_patch16_224": {"qk_norm": True},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_prefixes_features_are_timms(name: str) -> None:
    """Bit for bit where all tokens of the last block are computed, else but for the order of a product's sums."""
    spec = Backbone(name=name, weights="none", img_size=56, kwargs=SMALL | ARCHITECTURES[name])
    torch.manual_seed(0)
    plain = create_vit(spec).eval()
    images = torch.rand(3, 3, 56, 56)
    form = input_format(spec, plain)
    pixels = (images - torch.tensor(form.mean).view(1, 3, 1, 1)) / torch.tensor(form.std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = plain.forward_head(plain.forward_features(pixels), pre_logits=True)
        trunk = Trunk(plain, form)
        torch.testing.assert_close(trunk(images), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(trunk.with_patches(images)[:, : expected.shape[1]], expected)
        trunk.cuts_last_block = False
        assert torch.equal(trunk(images), expected)


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [("crop_mode", "border", "center, squash"), ("interpolation", "lanczos", "bilinear, bicubic")],
)
def test_an_unknown_way_to_put_pictures_in_is_refused(key: str, value: str, known: str) -> None:
    spec = Backbone(name="vit_tiny_patch16_224", weights="none", kwargs=SMALL)
    vit = create_vit(spec)
    vit.pretrained_cfg = {**vit.pretrained_cfg, key: value}
    with pytest.raises(ConfigError, match=f"{key} '{value}' is none of {known}"):
        input_format(spec, vit)


class Same(Injection):
    """The same random prefix for every block but those skipped."""

    def __init__(self, prefix: torch.Tensor, skip: frozenset[int] = frozenset()) -> None:
        self.prefix, self.skip = prefix, skip

    def layer(self, index: int) -> Prefix | None:
        return None if index in self.skip else Prefix(self.prefix)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_prefix_equals_attention_written_out(name: str) -> None:
    attention = small_trunk(name, **ARCHITECTURES[name]).vit.blocks[0].attention
    x, prefix = torch.randn(2, 9, 48), torch.randn(1, 2, 5, 48)
    attention.prompt = Prefix(prefix)
    whole = attention(x)
    attention.num_asked = 3
    torch.testing.assert_close(attention(x), whole[:, :3])
    inner, heads = attention.inner, attention.inner.num_heads
    query, key, value = inner.qkv(x).view(2, 9, 3, heads, -1).unbind(2)  # each [B, S, H, K]
    query, key = inner.q_norm(query), inner.k_norm(key)
    key = torch.cat([prefix[:, 0].view(1, 5, heads, -1).expand(2, -1, -1, -1), key], 1)
    value = torch.cat([prefix[:, 1].view(1, 5, heads, -1).expand(2, -1, -1, -1), value], 1)
    scores = torch.einsum("bshk,bthk->bhst", query, key) * inner.scale
    expected = torch.einsum("bhst,bthk->bshk", functional.softmax(scores, -1), value).flatten(2)
    torch.testing.assert_close(whole, inner.proj(inner.norm(expected)), atol=1e-5, rtol=1e-5)


def test_a_prefix_of_one_block_reaches_that_block_alone() -> None:
    trunk, images = small_trunk("vit_small_patch14_dinov2.lvd142m"), torch.rand(2, 3, 56, 56)
    prefix = torch.randn(1, 2, 4, 48)
    seen: dict[int, torch.Tensor] = {}
    for index, block in enumerate(trunk.vit.blocks):
        block.register_forward_hook(lambda module, inputs, output, i=index: seen.__setitem__(i, output))
    trunk(images)
    plain = dict(seen)
    trunk(images, Same(prefix, skip=frozenset({0})))
    assert torch.equal(seen[0], plain[0])
    assert not torch.equal(seen[1], plain[1])
    assert all(block.injection is None and block.attention.prompt is None for block in trunk.vit.blocks)


def test_samples_do_not_leak_into_each_other(trunk: Trunk) -> None:
    """Permuting two samples permutes their features: METHOD 9, traps 1 and 2."""
    images, prefix = torch.rand(4, 3, 32, 32), torch.randn(4, 2, 3, 32)
    swap = torch.tensor([0, 2, 1, 3])
    features = trunk(images, Same(prefix))
    torch.testing.assert_close(trunk(images[swap], Same(prefix[swap])), features[swap], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(trunk(images[:1], Same(prefix[:1])), features[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pictures_are_normalised_into_the_same_pages_and_stay_as_they_are(dtype: torch.dtype) -> None:
    form = InputFormat(PictureSize(8, 1.0, "bilinear"), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    normalisation = Normalisation(form, "cpu")
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (form.mean, form.std))
    places = set()
    for count in (19, 19, 3):
        images = torch.rand(count, 3, 8, 8)
        before, expected = images.clone(), ((images - mean) / std).to(dtype)
        kept = normalisation(images, dtype, is_kept=True)
        pixels = normalisation(images, dtype)
        assert torch.equal(pixels, expected) and torch.equal(kept, expected) and torch.equal(images, before)
        places.add(pixels.data_ptr())
        assert kept.data_ptr() not in places
    assert len(places) == 1


def test_two_passes_of_a_trained_trunk_have_the_gradient_of_each() -> None:
    """What a gradient is made of may not lie in pages that the second pass writes to."""
    trunk, images = small_trunk("vit_small_patch14_dinov2.lvd142m"), torch.rand(2, 2, 3, 56, 56)
    trunk.vit.requires_grad_(True)
    weight = trunk.vit.patch_embed.proj.weight
    alone = [torch.autograd.grad(trunk(some).square().sum(), weight)[0] for some in images]
    first, second = trunk(images[0]), trunk(images[1])
    (together,) = torch.autograd.grad(first.square().sum() + second.square().sum(), weight)
    torch.testing.assert_close(together, alone[0] + alone[1])


def test_the_trunk_stays_frozen_and_in_eval_mode(trunk: Trunk) -> None:
    torch.nn.Sequential(trunk).train()
    assert not any(module.training for module in trunk.modules())
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


@pytest.mark.parametrize(
    ("name", "depth", "width", "millions"),
    [
        ("vit_large_patch16_224.augreg_in21k", 24, 1024, 303.3),
        ("vit_huge_patch14_224.orig_in21k", 32, 1280, 630.8),
        ("vit_giant_patch14_reg4_dinov2.lvd142m", 40, 1536, 1136.5),
    ],
)
def test_large_backbones_have_their_published_shapes_on_the_meta_device(
    name: str, depth: int, width: int, millions: float
) -> None:
    trunk = meta_trunk(Backbone(name=name, weights="none"))
    assert (trunk.dimensions.depth, trunk.dimensions.width) == (depth, width)
    assert sum(p.numel() for p in trunk.vit.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert all(parameter.is_meta for parameter in trunk.parameters())


def test_pictures_are_counted_where_the_blocks_run(trunk: Trunk) -> None:
    """A pass past `forward`, or through some of the blocks, counts as any other."""
    images, before = torch.rand(3, 3, 32, 32), trunk.num_seen
    with torch.no_grad():
        trunk(images)
        trunk.with_patches(images)
        trunk.vit(images)
        trunk.vit.blocks[-1].inner(trunk.vit.patch_embed(images))
    assert trunk.num_seen - before == 4 * 3
