"""Frozen layers in 8 bits: near the layers that they replace, in both directions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hlgp_dist.config.schema import Backbone
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.eight_bit import EightBitLinear, as_a_gpu_takes_them
from hlgp_dist.models.injection import ByBlock, Prefix

SPEC = Backbone(name="vit_tiny_patch16_224", weights="none", img_size=32, kwargs={"depth": 2})


def pair(dtype: torch.dtype) -> tuple[nn.Linear, EightBitLinear]:
    torch.manual_seed(0)
    layer = nn.Linear(64, 32).to(dtype).requires_grad_(False)
    return layer, EightBitLinear(layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_off_by_the_roundings_alone(dtype: torch.dtype) -> None:
    layer, rounded = pair(dtype)
    x = torch.randn(3, 24, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    weights = rounded.weight.float() * rounded.step[:, None]
    assert (weights - layer.weight.float()).abs().le(rounded.step[:, None] * 0.5 + 1e-3).all()
    expected = functional.linear(x.float(), weights, layer.bias.float())
    step_of_token = x.float().abs().amax(-1, keepdim=True) / 127
    bound = 0.5 * step_of_token * weights.abs().sum(1) + expected.abs() * torch.finfo(dtype).eps + 1e-5
    out = rounded(x)
    assert out.dtype == dtype and out.shape == (3, 24, 32)
    assert ((out.float() - expected).abs() <= bound).all()


@pytest.mark.parametrize("tokens", [1, 16, 17, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_the_rounded_weights_but_for_its_own_rounding(dtype: torch.dtype, tokens: int) -> None:
    _, rounded = pair(dtype)
    x = torch.randn(tokens, 64).to(dtype).requires_grad_()
    gradient = (torch.randn(tokens, 32) * torch.tensor([1.0, 1e-8, 1e-20])[torch.arange(tokens) % 3, None]).to(dtype)
    rounded(x).backward(gradient)
    scaled = gradient.float() * rounded.step
    weights = rounded.weight.float()
    expected = scaled @ weights
    step_of_token = scaled.abs().amax(1, keepdim=True) / 127
    bound = 0.501 * step_of_token * weights.abs().sum(0) + expected.abs() * 2 * torch.finfo(dtype).eps
    assert x.grad is not None and x.grad.dtype == dtype
    assert ((x.grad.float() - expected).abs() <= bound).all()
    assert not torch.equal(x.grad.float(), expected)


@pytest.mark.parametrize("tokens", [1, 16, 17, 40])
def test_what_a_gpu_takes_has_the_same_product(tokens: int) -> None:
    """Its rules, by which no GPU was asked here: over 16 rows, and a second factor whose columns are in one piece."""
    rows, weight = torch.randint(-127, 128, (tokens, 64)).to(torch.int8), torch.randint(-127, 128, (64, 32))
    for second in (weight.to(torch.int8), weight.t().to(torch.int8).contiguous().t()):
        first, by_column = as_a_gpu_takes_them(rows, second)
        assert len(first) == max(tokens, 17) and by_column.stride() == (1, 64)
        assert torch.equal(torch._int_mm(first, by_column)[:tokens].long(), rows.long() @ weight)


def test_a_row_and_a_token_of_zeros_stay_zeros() -> None:
    layer, _ = pair(torch.float32)
    layer.weight[3], layer.bias[:] = 0.0, 0.0
    out = EightBitLinear(layer)(torch.cat([torch.zeros(20, 64), torch.ones(1, 64)]))
    assert not out[:20].any() and not out[:, 3].any() and out[20].any()


def test_a_trunk_in_int8_gives_nearly_the_features_and_the_prompts_gradient_of_bf16() -> None:
    images, weighting, features, gradients = torch.rand(8, 3, 32, 32), torch.randn(192), {}, {}
    for precision in ("bf16", "int8"):
        trunk, _ = build_trunk(SPEC, precision=precision, seed=0)
        prompt = torch.randn(1, 2, 3, 192, generator=torch.Generator().manual_seed(2)).requires_grad_()
        features[precision] = trunk(images, ByBlock({0: Prefix(prompt), 1: Prefix(prompt)}))
        (features[precision] * weighting).sum().backward()  # behind a norm squares have one sum
        gradients[precision] = prompt.grad
    for numbers in (features, gradients):
        off = (numbers["int8"] - numbers["bf16"]).norm() / numbers["bf16"].norm()
        assert 0.0 < off < 0.03, off


def test_every_block_is_half_as_large() -> None:
    sizes = {}
    for precision in ("bf16", "int8"):
        blocks = build_trunk(SPEC, precision=precision, seed=0)[0].vit.blocks
        sizes[precision] = sum(
            tensor.numel() * tensor.element_size() for tensor in (*blocks.parameters(), *blocks.buffers())
        )
    assert 0.5 < sizes["int8"] / sizes["bf16"] < 0.52
