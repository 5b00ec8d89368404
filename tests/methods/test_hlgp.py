"""The invariants of METHOD 10 on a small trunk, and the parameter counts of METHOD 5.1 to the unit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hlgp_dist.config import hlgp_options, method_options
from hlgp_dist.contract.rehearsal import TASKS, Rehearsal, random_pictures
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.generator import PromptShape, sub_prompts
from hlgp_dist.methods.groups import layer_groups
from hlgp_dist.methods.hlgp import Hlgp
from hlgp_dist.methods.position import sines
from hlgp_dist.models.injection import Injection, Prefix
from hlgp_dist.models.trunk import Dimensions, Trunk
from hlgp_dist.types import TaskSpec

BACKBONES = {"S/16": (12, 384), "B/16": (12, 768), "L/16": (24, 1024), "H/14": (32, 1280)}
COUNTS = {
    "S/16": (7_680, 92_160, 24_976, 37_664, 31_896, 50_352, 87_264, 63_040, 164_544, 235_008),
    "B/16": (15_360, 184_320, 49_936, 75_296, 63_768, 100_656, 174_432, 126_016, 328_896, 470_016),
    "L/16": (20_480, 491_520, 78_864, 112_672, 97_304, 146_480, 244_832, 180_288, 856_448, 638_976),
    "H/14": (25_600, 819_200, 108_816, 151_072, 131_864, 193_328, 316_256, 235_584, 1_418_752, 808_960),
}
"""root, independent, G=1 r16, G=2 r16, G=3 r8, G=3 r16, G=3 r32, G=4 r16, G=N r16, store of 10 tasks + one PIE."""


class HlgpRehearsal(Rehearsal):
    """Of HLGP, whose prompts can be looked at."""

    method: Hlgp

    def layer_prompts(self, num_tasks: int, weights: Tensor) -> Tensor:
        """[N, 2, L, D] of one sample."""
        mixture = self.method.prompts(num_tasks).mixed(weights)
        return torch.stack([mixture.prompt(index)[0] for index in range(self.trunk.dimensions.depth)])


def num_parameters(name: str, options: method_options.Method) -> int:
    depth, width = BACKBONES[name]
    with torch.device("meta"):
        method = build_method(options, Setting(Dimensions(depth, width, width), (TaskSpec(0, 0, ("a",)),), 0))
    return sum(parameter.numel() for parameter in method.parameters())


def hlgp(groups: int, rank: int = 16, **more: object) -> hlgp_options.Hlgp:
    return hlgp_options.Hlgp(num_groups=groups, generator=hlgp_options.BottleneckGenerator(rank=rank), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BACKBONES)
def test_trainable_parameters_are_those_of_the_table(name: str) -> None:
    depth, width = BACKBONES[name]
    none = hlgp_options.NoPosition(kind="none")
    root = num_parameters(name, hlgp(1, position=none)) - (2 * width * 16 + 16 + width)
    independent = num_parameters(name, hlgp_options.Independent(kind="independent"))
    variants = [(1, 16), (2, 16), (3, 8), (3, 16), (3, 32), (4, 16), (depth, 16)]
    counts = [num_parameters(name, hlgp(groups, rank)) for groups, rank in variants]
    assert (root, independent, *counts) == COUNTS[name][:-1]
    direct = hlgp_options.DirectGenerator(kind="direct")
    assert num_parameters(name, hlgp_options.Hlgp(generator=direct, position=none)) == 2 * 10 * 3 * width


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_stored_after_ten_tasks_is_that_of_the_table(name: str) -> None:
    depth, width = BACKBONES[name]
    tasks = [TaskSpec(i, i, (str(i),)) for i in range(10)]

    def stored(options: hlgp_options.Hlgp | hlgp_options.Independent) -> int:
        method = build_method(options, Setting(Dimensions(depth, width, width), tuple(tasks), 0))
        for task in tasks:
            method.begin_task(task)
            method.end_task(None, None)  # type: ignore[arg-type]
        return method.num_stored_parameters()

    one_position_a_task = 9 * depth * width
    assert stored(hlgp_options.Hlgp()) == COUNTS[name][-1] + one_position_a_task
    sub_prompts = 10 * 3 * 2 * 10 * width
    for position in (hlgp_options.NoPosition(kind="none"), hlgp_options.SinusoidalPosition(kind="sinusoidal")):
        assert stored(hlgp_options.Hlgp(position=position)) == sub_prompts, "a fixed position is computed, not stored"
    assert stored(hlgp_options.Independent(kind="independent")) == 10 * depth * 2 * 10 * width


def test_the_linear_generator_adds_one_affine_map_a_group() -> None:
    width, none = 768, hlgp_options.NoPosition(kind="none")
    linear = hlgp_options.LinearGenerator(kind="linear")
    assert num_parameters("B/16", hlgp_options.Hlgp(generator=linear, position=none)) == 2 * 10 * width + 1_771_776
    module = sub_prompts(linear, PromptShape(groups=2, parts=2, length=3, width=4, root_std=0.5))
    random = torch.Generator().manual_seed(0)
    module.reset_root(random)
    module.reset_generator(random)
    assert torch.equal(module(), module.root.expand(2, -1, -1, -1)), "at first every sub-prompt is the root"
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=random)
    weight, bias = (parameter for name, parameter in module.named_parameters() if name != "root")
    for group in range(2):
        moved = torch.stack(
            [torch.stack([weight[group, 0] @ row + bias[group, 0, 0] for row in part]) for part in module.root]
        )
        torch.testing.assert_close(module()[group], module.root + moved)


def test_sines_are_those_of_their_formula() -> None:
    waves = sines(range(5), 6, 0.5)
    for layer in range(5):
        for j in range(3):
            angle = layer / 10000 ** (2 * j / 6)
            assert waves[layer, 2 * j].item() == pytest.approx(0.5 * math.sin(angle), abs=1e-6)
            assert waves[layer, 2 * j + 1].item() == pytest.approx(0.5 * math.cos(angle), abs=1e-6)


@pytest.mark.parametrize(("layers", "groups"), [(12, 3), (24, 3), (32, 3), (12, 12), (7, 4), (5, 1)])
def test_groups_are_contiguous_cover_each_layer_once_and_differ_by_one_at_most(layers: int, groups: int) -> None:
    assigned = layer_groups(layers, groups)
    sizes = [assigned.count(group) for group in range(groups)]
    assert list(assigned) == sorted(assigned) and sum(sizes) == layers and max(sizes) - min(sizes) <= 1


def test_the_default_groups_are_those_of_the_method_page() -> None:
    assert [layer_groups(32, 3).count(group) for group in range(3)] == [11, 11, 10]
    assert layer_groups(6, 3, (1, 4, 1)) == (0, 1, 1, 1, 1, 2)


def test_at_first_all_groups_equal_the_root_and_layers_of_a_group_are_identical(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, prompt_length=4))
    rehearsal.begin(tasks[0])
    prompts = rehearsal.layer_prompts(1, torch.ones(1, 1))
    root = rehearsal.method.sub_prompts.root
    assert all(torch.equal(prompt, root) for prompt in prompts)
    rehearsal.train()
    prompts = rehearsal.layer_prompts(1, torch.ones(1, 1))
    assert len({prompt.detach().numpy().tobytes() for prompt in prompts}) == 6


def test_one_group_without_position_gives_every_block_the_same_prompt(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(1, position=hlgp_options.NoPosition(kind="none")))
    rehearsal.begin(tasks[0])
    rehearsal.train()
    prompts = rehearsal.layer_prompts(1, torch.ones(1, 1))
    assert all(torch.equal(prompt, prompts[0]) for prompt in prompts)


def test_the_independent_baseline_is_hlgp_with_a_group_a_layer(trunk: Trunk, tasks) -> None:
    same = hlgp_options.Hlgp(
        num_groups=6,
        generator=hlgp_options.DirectGenerator(kind="direct"),
        position=hlgp_options.NoPosition(kind="none"),
    )
    baseline = HlgpRehearsal(trunk, tasks, hlgp_options.Independent(kind="independent"))
    grouped = HlgpRehearsal(trunk, tasks, same)
    images = torch.rand(3, 3, 32, 32)
    for task in tasks:
        baseline.learn(task)
        grouped.learn(task)
        assert torch.equal(baseline.output(images).logits, grouped.output(images).logits)


class PerLayer(Injection):
    def __init__(self, prompts: Tensor) -> None:
        self.prompts = prompts

    def layer(self, index: int) -> Prefix:
        return Prefix(self.prompts[index][None])


def test_a_group_a_layer_equals_a_per_layer_prefix_model(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp_options.Independent(kind="independent"))
    rehearsal.begin(tasks[0])
    rehearsal.train()
    images = torch.rand(2, 3, 32, 32)
    expected = rehearsal.head(trunk(images, PerLayer(rehearsal.method.sub_prompts.root)))
    torch.testing.assert_close(rehearsal.output(images).logits, expected)


def test_before_the_first_step_of_a_task_its_prompts_equal_the_last_ones(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, accumulation="mean"))
    rehearsal.learn(tasks[0])
    rehearsal.begin(tasks[1])
    last = rehearsal.layer_prompts(2, torch.tensor([[1.0, 0.0]]))
    live = rehearsal.layer_prompts(2, torch.tensor([[0.0, 1.0]]))
    merged = rehearsal.layer_prompts(2, torch.tensor([[0.5, 0.5]]))
    assert torch.equal(last, live)
    torch.testing.assert_close(merged, last)


@pytest.mark.parametrize(
    ("carry_over", "same_root", "same_generator"),
    [("root_and_generator", True, True), ("root", True, False), ("none", False, False)],
)
def test_what_is_carried_over(trunk: Trunk, tasks, carry_over: str, same_root: bool, same_generator: bool) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, carry_over=carry_over))
    rehearsal.learn(tasks[0])
    before = {name: value.clone() for name, value in rehearsal.method.named_parameters()}
    rehearsal.begin(tasks[1])
    after = dict(rehearsal.method.named_parameters())
    assert torch.equal(before["sub_prompts.root"], after["sub_prompts.root"]) is same_root
    for name in ("sub_prompts.up", "position.vectors"):
        assert torch.equal(before[name], after[name]) is same_generator
        assert same_generator or not after[name].any()


def test_old_prompts_and_old_head_rows_are_byte_identical_after_a_task(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3))
    rehearsal.learn(tasks[0])
    bank, rows = rehearsal.method.bank.sub_prompts.clone(), rehearsal.head.rows()[0].clone()
    rehearsal.begin(tasks[1])
    logits = rehearsal.output(torch.rand(2, 3, 32, 32)).logits
    logits[:, 3:].logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in rehearsal.method.parameters())
    assert rehearsal.method.bank.sub_prompts.grad is None and rehearsal.head.past_weight.grad is None
    rehearsal.train()
    rehearsal.end()
    assert torch.equal(rehearsal.method.bank.sub_prompts[:1], bank)
    assert torch.equal(rehearsal.head.rows()[0][:3], rows)


@pytest.mark.parametrize("kind", ["posterior", "auxiliary"])
def test_matching_weights_are_a_distribution_over_seen_tasks(trunk: Trunk, tasks, kind: str) -> None:
    matching = (
        hlgp_options.AuxiliaryMatching(kind="auxiliary")
        if kind == "auxiliary"
        else hlgp_options.PosteriorMatching(cycles=3)
    )
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, matching=matching, train_mixture="current"))
    images = torch.rand(4, 3, 32, 32)
    for seen, task in enumerate(tasks, start=1):
        rehearsal.learn(task)
        output = rehearsal.output(images)
        assert output.logits.shape == (4, task.stop)
        assert output.task_weights.shape == (4, seen) and (output.task_weights >= 0).all()
        torch.testing.assert_close(output.task_weights.sum(1), torch.ones(4))
    assert (output.task_weights.std(0) > 0).any(), "weights differ between pictures"


def test_posterior_weights_are_the_class_mass_of_a_first_pass(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3))
    rehearsal.learn(tasks[0])
    rehearsal.learn(tasks[1])
    images = torch.rand(3, 3, 32, 32)
    first = rehearsal.output(images, weights=torch.full((1, 2), 0.5)).logits.softmax(1)
    expected = torch.stack([first[:, :3].sum(1), first[:, 3:].sum(1)], 1)
    torch.testing.assert_close(rehearsal.output(images).task_weights, expected)


@pytest.mark.parametrize("accumulation", ["mean", "sum", "last"])
def test_fixed_accumulations_use_their_weights(trunk: Trunk, tasks, accumulation: str) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, accumulation=accumulation))
    rehearsal.learn(tasks[0])
    rehearsal.learn(tasks[1])
    weights = {"mean": [[0.5, 0.5]], "sum": [[1.0, 1.0]], "last": [[0.0, 1.0]]}[accumulation]
    images = torch.rand(1, 3, 32, 32)
    output = rehearsal.output(images)
    assert output.task_weights is None
    assert torch.equal(output.logits, rehearsal.output(images, torch.tensor(weights)).logits)


def test_training_mixes_as_at_test_or_takes_the_current_prompts_alone(trunk: Trunk, tasks) -> None:
    images = torch.rand(2, 3, 32, 32)
    logits = {}
    for mixture in ("accumulated", "current"):
        rehearsal = HlgpRehearsal(trunk, tasks, hlgp(3, train_mixture=mixture))
        rehearsal.learn(tasks[0])
        rehearsal.begin(tasks[1])
        rehearsal.train()
        logits[mixture] = rehearsal.output(images).logits
        alone = rehearsal.output(images, torch.tensor([[0.0, 1.0]])).logits
        assert torch.equal(logits[mixture], alone) is (mixture == "current")
    assert not torch.equal(logits["accumulated"], logits["current"])


def test_only_the_chosen_blocks_get_prompts(trunk: Trunk, tasks) -> None:
    rehearsal = HlgpRehearsal(trunk, tasks, hlgp(2, layers=(1, 2, 4)))
    rehearsal.begin(tasks[0])
    mixture = rehearsal.method.prompts(1).mixed(torch.ones(1, 1))
    assert [mixture.layer(index) is not None for index in range(6)] == [False, True, True, False, True, False]


@pytest.mark.parametrize(("prediction", "passes"), [("prompted", 1), ("combined", 2)])
def test_who_is_told_the_task_asks_no_classifier_for_it(prediction: str, passes: int) -> None:
    matching = hlgp_options.AuxiliaryMatching(kind="auxiliary")
    rehearsal = Rehearsal.of(
        hlgp_options.Hlgp(matching=matching, prediction=prediction, train_mixture="current")  # type: ignore[arg-type]
    )
    for task in TASKS[:2]:
        rehearsal.begin(task)
        rehearsal.end()
    images, trunk = random_pictures(3), rehearsal.trunk
    for weights, expected in ((None, 2), (rehearsal.method.known_task(0, 2, images.device), passes)):
        before = trunk.num_seen
        rehearsal.output(images, weights)
        assert trunk.num_seen - before == expected * len(images)
