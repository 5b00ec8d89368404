"""What passes over the same pictures have in common is computed once, and nothing else changes by it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from hlgp_dist.config import hlgp_options
from hlgp_dist.contract.rehearsal import TASKS, Rehearsal, random_pictures, tiny_trunk
from hlgp_dist.models.injection import ByBlock, Prefix
from hlgp_dist.models.trunk import Trunk

DEPTH, WIDTH = 6, 32


def prompted(first: int) -> ByBlock:
    random = torch.Generator().manual_seed(first)
    prompts = {block: torch.randn(1, 2, 3, WIDTH, generator=random) for block in range(first, DEPTH)}
    return ByBlock({block: Prefix(prompt) for block, prompt in prompts.items()})


@pytest.fixture
def trunk() -> Trunk:
    return tiny_trunk()


def counting(trunk: Trunk) -> Counter[str]:
    """From now on, how often each part of the trunk is called."""
    calls = Counter[str]()
    parts = {"embedding": trunk.vit.patch_embed, **{f"block {i}": block for i, block in enumerate(trunk.vit.blocks)}}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, output, name=name: calls.update([name]))
    return calls


@pytest.mark.parametrize("first", [0, 2, 5])
@torch.no_grad()
def test_passes_are_the_same_and_their_beginning_is_computed_once(trunk: Trunk, first: int) -> None:
    images = random_pictures(3)
    passes = [None, prompted(first), prompted(first)]
    expected = [trunk(images, injection) for injection in passes]
    calls = counting(trunk)
    with trunk.sharing(first):
        found = [trunk(images, injection) for injection in passes]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert calls["embedding"] == 1
    assert [calls[f"block {block}"] for block in range(DEPTH)] == [1] * first + [3] * (DEPTH - first)
    trunk(images, passes[1])
    assert calls["embedding"] == 2, "nothing is remembered outside"


@torch.no_grad()
def test_other_pictures_are_computed_anew(trunk: Trunk) -> None:
    images = random_pictures(3)
    others, doubled = [trunk(tensor) for tensor in (random_pictures(3, seed=1), 2.0 * images)]
    with trunk.sharing(2):
        trunk(images)
        assert torch.equal(trunk(random_pictures(3, seed=1)), others)
        trunk(images)
        assert torch.equal(trunk(images.mul_(2.0)), doubled), "the same tensor, written to"


@torch.no_grad()
def test_blocks_that_are_asked_for_run(trunk: Trunk) -> None:
    images = random_pictures(3)
    expected = [trunk.with_patches(images, blocks) for blocks in ((1, 4), (3, 4))]
    with trunk.sharing(2):
        trunk(images)
        found = [trunk.with_patches(images, blocks) for blocks in ((1, 4), (3, 4))]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_pictures_whose_changes_nobody_counts_are_computed_anew(trunk: Trunk) -> None:
    calls = counting(trunk)
    with torch.inference_mode(), trunk.sharing(2):
        images = random_pictures(3).clone()
        assert torch.equal(trunk(images), trunk(images))
    assert calls["embedding"] == 2


def test_a_trunk_that_trains_shares_nothing() -> None:
    trunk = tiny_trunk(trained=True)
    calls, images = counting(trunk), random_pictures(2)
    with trunk.sharing(0):
        with torch.no_grad():
            trunk(images)
        trunk(images).sum().backward()
    assert calls["embedding"] == 2
    assert trunk.vit.patch_embed.proj.weight.grad is not None


def gradients(rehearsal: Rehearsal) -> dict[str, Tensor]:
    rehearsal.backward()
    found = {name: parameter.grad for name, parameter in rehearsal.trained().items()}
    rehearsal.learner.zero_grad()
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def test_a_step_of_two_passes_has_the_same_gradients() -> None:
    """Whose matching pass begins as the pass that trains does."""
    rehearsal = Rehearsal.of(hlgp_options.Hlgp(layers=(2, 3, 5), num_groups=2))
    rehearsal.learn(TASKS[0])
    rehearsal.begin(TASKS[1])
    rehearsal.train()
    calls = counting(rehearsal.trunk)
    shared = gradients(rehearsal)
    assert calls["embedding"] == calls["block 1"] == 1 and calls["block 2"] == 2
    rehearsal.method.first_block = 0
    assert calls["block 1"] == 1
    alone = gradients(rehearsal)
    assert calls["block 1"] == 3
    assert shared.keys() == alone.keys() != set()
    assert all(torch.equal(shared[name], alone[name]) for name in alone)
