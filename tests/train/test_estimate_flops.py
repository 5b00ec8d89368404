"""FLOPs: counted op by op on `meta`, by torch's own counter on a CPU, and by the formulae of docs/plan.md."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.contract.rehearsal import TASKS, TINY, Pictures, random_pictures
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk, meta_trunk
from hlgp_dist.train.estimate.costs import TaskCost, task_costs
from hlgp_dist.train.estimate.formulae import backward_flops, forward_flops, pass_shape, shared_flops
from hlgp_dist.train.estimate.kernels import Device
from hlgp_dist.train.learner import Learner

BATCH = 5
BLOCKS = ("none", "all")
WITHIN = 0.01
"""Of what is counted: the formulae leave prompts' generators and heads out."""


def configured(*overrides: str, **backbone: object) -> RunConfig:
    values = {"data": {"path": "."}, "backbone": backbone or TINY.model_dump(mode="json", exclude_defaults=True)}
    return resolve(values, ("engine.precision=fp32", *overrides)).config


def costs(config: RunConfig, device: Device, batch: int = BATCH) -> list[TaskCost]:
    setting = Setting(meta_trunk(config.backbone).dimensions, TASKS, 0)
    return task_costs(config, setting, (np.full((batch, 2), 40), batch), device)


METHODS = (
    "hlgp",
    "hlgp method.generator.kind=linear",
    "hlgp method.insertion=tokens",
    "independent",
    "coda method.num_components=6 method.layers=[0,1]",
    "l2p",
    "dualprompt",
    "apt",
    "linear",
    "full",
    "hlgp engine.checkpoint_blocks=all method.layers=[2,3,4,5]",
    "l2p engine.checkpoint_blocks=all",
    "full engine.checkpoint_blocks=all",
)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_and_a_test_are_counted_as_torch_counts_them(method: str) -> None:
    kind, *options = method.split()
    config = configured(f"method.kind={kind}", *options)
    trunk, _ = build_trunk(config.backbone, precision="fp32", seed=0, trained=config.method.trains_trunk)
    trunk.recompute_blocks(config.engine.checkpoint_blocks == "all")
    learner = Learner(trunk, build_method(config.method, Setting(trunk.dimensions, TASKS, 0)))
    for planned in costs(config, "cpu"):
        task = TASKS[planned.task]
        learner.begin_task(task)
        learner.train()
        with FlopCounterMode(display=False) as training:
            learner(random_pictures(BATCH), torch.full((BATCH,), task.start), torch.ones(BATCH))[0].backward()
        learner.zero_grad()
        learner.eval()
        with torch.no_grad():
            learner.method.end_task(trunk, Pictures(task))
            with FlopCounterMode(display=False) as test:
                learner.predict(random_pictures(BATCH))
        assert planned.step.per_picture() * BATCH == training.get_total_flops()
        assert planned.test.per_picture() * BATCH == test.get_total_flops()


def test_blocks_that_are_computed_again_cost_a_pass() -> None:
    """All but the last product of each, a third of its weights: what comes out is not needed again."""
    plain, again = (costs(configured(f"engine.checkpoint_blocks={blocks}"), "cuda")[1].step for blocks in BLOCKS)
    assert again.flops["forward"] == plain.flops["forward"] and again.flops["matching"] == plain.flops["matching"]
    added = again.flops["backward"] - plain.flops["backward"]
    assert 0.6 * plain.flops["forward"] < added < plain.flops["forward"]


@pytest.mark.parametrize(
    ("name", "length"),
    [("vit_tiny_patch16_224", 1), ("vit_base_patch16_224", 40), ("vit_huge_patch14_224", 10)],
)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_formulae_agree(name: str, length: int, device: Device) -> None:
    config = configured(f"method.prompt_length={length}", name=name, weights="none")
    shape = pass_shape(meta_trunk(config.backbone))
    first, second = costs(config, device)[:2]
    forward, backward = forward_flops(shape, length), backward_flops(shape, length, device)
    assert first.step.per_picture("matching") == 0
    assert first.step.per_picture("forward") == pytest.approx(forward, rel=WITHIN)
    assert first.step.per_picture("backward") == pytest.approx(backward, rel=WITHIN)
    assert second.step.per_picture("matching") == pytest.approx(forward, rel=WITHIN)
    assert second.step.per_picture("forward") == pytest.approx(forward - shared_flops(shape), rel=WITHIN)
    assert second.test.per_picture() == pytest.approx(2 * forward - shared_flops(shape), rel=WITHIN)
    assert (first.test.passes, second.test.passes, second.step.passes) == (1, 2, 2)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_is_below_the_prompts_is_computed_once(device: Device) -> None:
    config = configured(
        "method.layers=[8,9,10,11]", "method.num_groups=2", name="vit_small_patch16_224", weights="none"
    )
    shape = pass_shape(meta_trunk(config.backbone))
    _, second = costs(config, device)[:2]
    forward, shared = forward_flops(shape, 10, 8), shared_flops(shape, 8)
    assert 0.7 * forward < shared < 0.75 * forward
    assert second.step.per_picture("matching", "forward") == pytest.approx(2 * forward - shared, rel=WITHIN)
    assert second.step.per_picture("backward") == pytest.approx(backward_flops(shape, 10, device, 8), rel=WITHIN)
    assert second.test.per_picture() == pytest.approx(2 * forward - shared, rel=WITHIN)


def test_known_passes() -> None:
    """GFLOP of a forward, as the field gives them: of all tokens of the last block."""
    for name, expected in {
        "vit_base_patch16_224": 35.1,
        "vit_large_patch16_224": 123.1,
        "vit_huge_patch14_224": 334.6,
    }.items():
        shape = pass_shape(meta_trunk(configured(name=name, weights="none").backbone))
        whole = replace(shape, asked=(shape.tokens,) * shape.depth)
        assert forward_flops(whole) / 1e9 == pytest.approx(expected, abs=0.05)
        behind = 2 * (shape.tokens - 1) * (shape.weights[-1] - shape.qkv[-1] + 2 * shape.tokens * shape.attention_width)
        assert forward_flops(whole) - forward_flops(shape) == behind
