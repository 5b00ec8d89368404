"""One engine a task: nothing of it stays behind, its state is whole, and what an optimizer lacks is not asked for."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from hlgp_dist.config import hlgp_options, method_options, optimizer_options, schema
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.engine.collectives import reduce_sum
from hlgp_dist.engine.deepspeed import DeepSpeedEngine
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.engine.options import deepspeed_config, torch_optimizer
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.telemetry.meters import memory
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec
from tests.jobs import as_it_was, job, step_values
from tests.ranks import Ranks

TASKS = 12
WARM = 5
"""Tasks after which allocators have what they need."""
LEAKED_GIB = 0.012


def hooks(module: nn.Module) -> int:
    """Hooks on all modules of a tree."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)


def train_many_tasks(rank: int, size: int, stage: int) -> list[tuple[int, int, float]]:
    """(live optimizers, hooks, resident GiB) after each of many tasks, each with an engine of its own."""
    init_process_group("cpu", 60)
    tasks = [TaskSpec(index, index, (str(index),)) for index in range(TASKS)]
    trunk, _ = build_trunk(TINY, precision="fp32", seed=0)
    learner = Learner(
        trunk, build_method(hlgp_options.Hlgp(accumulation="last"), Setting(trunk.dimensions, tuple(tasks), 0))
    )
    optimizers, seen = [], []
    gc.freeze()  # the collections below need not look through torch
    for task in tasks:
        learner.begin_task(task)
        engine = DeepSpeedEngine(
            learner,
            learner.trained_parameters(),
            optimizer=optimizer_options.Adam(),
            options=schema.EngineOptions(zero_stage=stage),  # type: ignore[arg-type]
            accumulation=1,
        )
        for _ in range(2):
            loss, _right = engine(torch.rand(4, 3, 32, 32), torch.full((4,), task.start), torch.full((4,), 0.25))
            engine.backward(loss)
            engine.step({"prompt": 0.01, "head": 0.01})
        optimizer = engine._engine.optimizer
        optimizers.append(weakref.ref(optimizer if stage == 0 else optimizer.optimizer))
        engine.close()
        del engine, loss, optimizer
        gc.collect()
        live = sum(reference() is not None for reference in optimizers)
        seen.append((live, hooks(learner), memory(torch.device("cpu"))["memory/rss_gib"]))
    close_process_group()
    return seen


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_many_tasks_leave_nothing_behind(stage: int, own_ranks: Ranks) -> None:
    for seen in own_ranks.call(2, train_many_tasks, stage):
        live, left, resident = zip(*seen, strict=True)
        assert max(live) <= 1
        assert len(set(left)) == 1, f"hooks after each task: {left}"
        assert resident[-1] - resident[WARM] < LEAKED_GIB


def kept_while_the_head_trains(rank: int, size: int) -> list[bool]:
    """Whether frozen prompts are whole where a checkpoint is written, and after the task."""
    init_process_group("cpu", 60)
    task = TaskSpec(0, 0, ("a", "b"))
    trunk, _ = build_trunk(TINY, precision="fp32", seed=0)
    learner = Learner(trunk, build_method(method_options.Apt(kind="apt"), Setting(trunk.dimensions, (task,), 0)))
    learner.begin_task(task)
    learner.method.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in learner.method.named_parameters()}
    engine = DeepSpeedEngine(
        learner,
        {"prompt": [], "head": list(learner.head.parameters())},
        kept=learner.method.parameters(),
        optimizer=optimizer_options.Adam(),
        options=schema.EngineOptions(zero_stage=3),
        accumulation=1,
    )
    loss, _right = engine(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]), torch.full((4,), 0.25))
    engine.backward(loss)
    engine.step({"head": 0.01})
    with engine.whole_parameters():
        inside = all(torch.equal(learner.method.get_parameter(name), value) for name, value in before.items())
    engine.close()
    after = all(torch.equal(learner.method.get_parameter(name), value) for name, value in before.items())
    close_process_group()
    return [inside, after, bool(before)]


def test_what_a_task_does_not_train_is_whole_too(own_ranks: Ranks) -> None:
    assert own_ranks.call(2, kept_while_the_head_trains) == [[True] * 3] * 2


def sum_of_ranks(rank: int, size: int) -> list[float]:
    init_process_group("cpu", 60)
    total = reduce_sum(torch.tensor([1.0, float(rank)]))
    close_process_group()
    return total.tolist()


def test_groups_come_and_go_in_one_process(ranks: Ranks) -> None:
    """And without a compiler, which DeepSpeed would like to have: the ranks' PATH is empty."""
    assert ranks.call(2, sum_of_ranks) == [[2.0, 1.0], [2.0, 1.0]]
    assert ranks.call(1, sum_of_ranks) == [[1.0, 0.0]]
    assert ranks.call(2, sum_of_ranks) == [[2.0, 1.0], [2.0, 1.0]]


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("kind", ["sgd", "sgd, no momentum", "adamw"])
def test_every_optimizer_resumes_inside_a_task(
    kind: str, stage: int, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    options = ["benchmark.max_tasks=1", "checkpoint.every_steps=2", "checkpoint.keep=9", f"engine.zero_stage={stage}"]
    options += [f"optimizer.kind={kind.split(',')[0]}", "launch.num_workers=2"]
    options += ["optimizer.momentum=0"] if "no momentum" in kind else []
    whole, codes = ranks.run(job(drawn, tmp_path / "whole", *options))
    assert codes == [0, 0]
    folder = as_it_was(whole, tmp_path / "run", "task-00-step-000002")
    _, codes = ranks.run(job(drawn, folder.path, *options))
    assert codes == [0, 0]
    assert step_values(folder) == step_values(whole)


def test_optimizers_take_their_settings_and_leave_empty_groups_out() -> None:
    head = [nn.Parameter(torch.zeros(2))]
    prompt = [nn.Parameter(torch.zeros(3))]
    sgd = torch_optimizer(
        optimizer_options.Sgd(kind="sgd", momentum=0.5, weight_decay=0.1), {"prompt": prompt, "head": head}
    )
    assert [(group["name"], group["momentum"], group["weight_decay"]) for group in sgd.param_groups] == [
        ("prompt", 0.5, 0.1),
        ("head", 0.5, 0.1),
    ]
    adamw = torch_optimizer(
        optimizer_options.AdamW(kind="adamw", betas=(0.8, 0.9), weight_decay=0.2), {"prompt": [], "head": head}
    )
    assert [(group["name"], group["betas"], group["weight_decay"]) for group in adamw.param_groups] == [
        ("head", (0.8, 0.9), 0.2)
    ]


def test_deepspeed_is_told_of_accumulation_clipping_and_zero_and_of_no_precision() -> None:
    config = deepspeed_config(schema.EngineOptions(zero_stage=2), 0.5, 4, 70)
    assert config["gradient_accumulation_steps"] == 4
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage"] == 2
    assert config["zero_optimization"]["reduce_bucket_size"] == 70
    assert not {"bf16", "fp16", "optimizer", "scheduler"} & config.keys()
    assert deepspeed_config(schema.EngineOptions(), None, 1, 70)["gradient_clipping"] == 0.0
