"""Compiled blocks compute what blocks compute, for every number of pictures by the same kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from hlgp_dist.config.schema import Backbone
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.injection import ByBlock, Prefix
from hlgp_dist.models.trunk import Trunk
from tests.compiler import needs_compiler

SPEC = Backbone(name="vit_tiny_patch16_224", weights="none", img_size=32, kwargs={"depth": 3})


def passes(trunk: Trunk, pictures: int, *, apart: bool) -> list[Tensor]:
    """Features without and with prompts, and the prompts' gradient; apart: each picture has its own."""
    random = torch.Generator().manual_seed(pictures)
    images = torch.rand(pictures, 3, 32, 32, generator=random)
    prompt = torch.randn(pictures if apart else 1, 2, 3, 192, generator=random).requires_grad_()
    with torch.no_grad():
        queries = trunk(images)
    features = trunk(images, ByBlock({1: Prefix(prompt)}))
    (features * torch.randn(192, generator=random)).sum().backward()  # behind a norm squares have one sum
    assert prompt.grad is not None
    return [queries, features.detach(), prompt.grad]


def test_without_a_compiler_nothing_starts() -> None:
    trunk, _ = build_trunk(SPEC, precision="fp32", seed=0)
    torch._dynamo.reset()
    with (
        torch._inductor.config.patch({"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}),
        pytest.raises(EnvironmentFailure, match=r"InvalidCxxCompiler: No working C\+\+ compiler .* g\+\+ python3-dev"),
    ):
        trunk.compile_blocks()


@needs_compiler
@pytest.mark.parametrize(("precision", "apart"), [("fp32", True), ("int8", False)])
def test_compiled_blocks_compute_the_same_and_once_for_all_sizes(precision: str, apart: bool) -> None:
    plain, fast = (build_trunk(SPEC, precision=precision, seed=0)[0] for _ in range(2))
    fast.compile_blocks()
    tolerance = {"fp32": 1e-5, "int8": 0.04}[precision]
    made = 0
    for pictures in (6, 4):
        for ours, expected in zip(
            passes(fast, pictures, apart=apart), passes(plain, pictures, apart=apart), strict=True
        ):
            assert (ours - expected).norm() <= tolerance * expected.norm()
        made = made or counters["stats"]["unique_graphs"]
    assert counters["stats"]["unique_graphs"] == made > 0
    assert fast.num_seen == plain.num_seen == 20
