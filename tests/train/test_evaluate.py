"""Testing tasks over two ranks: every picture once, the counts of plain code, and no result of broken logits."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hlgp_dist.config import hlgp_options, method_options, schema
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.selection import select
from hlgp_dist.data.tasks import joined, split_tasks
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.errors import NonFiniteLoss
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.train.evaluate import Counts, evaluate_task
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec, World
from tests.jobs import TEST_PICTURES, evaluated, opened
from tests.ranks import Ranks


def evaluate_both_ways(rank: int, size: int, shards: str, cache: str, *, poison: bool) -> str | tuple[int, ...]:
    """What evaluate_task counts, then plain code over all pictures; the failure's message if it refuses."""
    init_process_group("cpu", 60)
    try:
        manifest = read_manifest(shards)
        task = split_tasks(manifest.classes, schema.Benchmark(init_cls=3, increment=3))[0]
        trunk, _ = build_trunk(TINY, precision="fp32", seed=0)
        learner = Learner(
            trunk, build_method(method_options.Linear(kind="linear"), Setting(trunk.dimensions, (task,), 0))
        )
        learner.begin_task(task)
        with torch.no_grad():
            learner.head.weight.copy_(
                torch.randn(learner.head.weight.shape, generator=torch.Generator().manual_seed(0))
            )
            if poison:
                learner.head.weight[-1] = torch.inf
        selection = select(manifest, task, "test", 0.0)
        pictures = opened(shards, selection, trunk.input_format.size, cache)
        counts = evaluate_task(
            learner,
            pictures,
            task,
            world=World(rank, size),
            device="cpu",
            batch_size=4,
            loading=Loading(),
            oracle=True,
        )
        with torch.no_grad():
            logits = learner.method(trunk, learner.head, to_float(evaluated(pictures)), task).logits
        plain = int((logits.argmax(1) == torch.from_numpy(pictures.labels)).sum())
        return counts.total, counts.right, plain, counts.within_right or 0, counts.task_right
    except NonFiniteLoss as failure:
        return str(failure)
    finally:
        close_process_group()


@pytest.mark.parametrize("size", [1, 2])
def test_every_picture_counts_once(size: int, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    for answer in ranks.call(size, clean, str(drawn), str(tmp_path)):
        total, right, plain, within, task_right = answer
        assert total == 15
        assert right == plain == within
        assert task_right == 15, "there is but one task"


def test_logits_that_are_not_finite_end_all_ranks(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    message = "logits of 15 of the 15 pictures of task 0 are not finite"
    assert ranks.call(2, poisoned, str(drawn), str(tmp_path)) == [message, message]


def clean(rank: int, size: int, shards: str, cache: str) -> str | tuple[int, ...]:
    return evaluate_both_ways(rank, size, shards, cache, poison=False)


def poisoned(rank: int, size: int, shards: str, cache: str) -> str | tuple[int, ...]:
    return evaluate_both_ways(rank, size, shards, cache, poison=True)


SPREAD = {"general": 0.1, "expert": 2.0}
"""Of random prompts: enough that they mislead some pictures, not all."""
METHODS = {
    "hlgp": hlgp_options.Hlgp(prompt_length=2, generator=hlgp_options.BottleneckGenerator(rank=4)),
    "dualprompt": method_options.DualPrompt(kind="dualprompt"),
    "linear": method_options.Linear(kind="linear"),
}


def taught(kind: str, stages: tuple[TaskSpec, ...]) -> Learner:
    """After all stages, each of which left random prompts."""
    trunk, _ = build_trunk(TINY, precision="fp32", seed=0)
    learner = Learner(trunk, build_method(METHODS[kind], Setting(trunk.dimensions, stages, 0)))
    random = torch.Generator().manual_seed(1)
    for stage in stages:
        learner.begin_task(stage)
        with torch.no_grad():
            for name, parameter in learner.method.named_parameters():
                parameter.add_(SPREAD.get(name, 0.6) * torch.randn(parameter.shape, generator=random))
        learner.method.end_task(trunk, None)
    return learner.eval()


def nearest_mean(means: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and biases of a head that finds the nearest of them."""
    return means, -means.square().sum(1) / 2


def one_by_one(learner: Learner, images: Tensor, labels: list[int], tasks: tuple[TaskSpec, ...], true: int) -> Counts:
    """What `Counts` says, picture by picture and word by word."""
    total = right = task_right = oracle_right = within_right = 0
    sums = [0.0] * len(tasks)
    is_joint = learner.task.index == 0
    knows_tasks = learner.method.takes_task_weights and not is_joint
    for image, label in zip(images.split(1), labels, strict=True):
        output = learner.method(learner.trunk, learner.head, image, learner.task)
        logits = output.logits[0].tolist()
        predicted = logits.index(max(logits))
        if output.task_weights is not None and not is_joint:
            weights = output.task_weights[0].tolist()
            guessed = weights.index(max(weights))
            sums = [before + weight for before, weight in zip(sums, weights, strict=True)]
        else:
            guessed = next(task.index for task in tasks if task.start <= predicted < task.stop)
        if knows_tasks:
            weights = torch.tensor([[float(task.index == true) for task in tasks]])
            known = learner.method(learner.trunk, learner.head, image, learner.task, weights).logits[0].tolist()
        else:
            known = logits
        of_task = known[tasks[true].start : tasks[true].stop]
        total += 1
        right += predicted == label
        task_right += guessed == true
        oracle_right += known.index(max(known)) == label
        within_right += of_task.index(max(of_task)) == label - tasks[true].start
    means = tuple(weight / total for weight in sums) if any(sums) else None
    return Counts(total, right, task_right, oracle_right, within_right, means)


@torch.no_grad()
def all_counts(rank: int, size: int, kind: str, is_joint: bool, shards: str, cache: str) -> list[tuple[Counts, Counts]]:
    """Of three tasks: as `evaluate_task` and as plain code count."""
    init_process_group("cpu", 60)
    try:
        manifest = read_manifest(shards)
        tasks = split_tasks(manifest.classes, schema.Benchmark(init_cls=2, increment=3))[:3]
        learner = taught(kind, (joined(tasks),) if is_joint else tasks)
        size_of_picture, both = learner.trunk.input_format.size, []
        opened_of = [opened(shards, select(manifest, task, "test", 0.0), size_of_picture, cache) for task in tasks]
        means = torch.zeros(learner.task.stop, learner.trunk.dimensions.feature_width)
        for pictures in opened_of:
            features = learner.trunk(to_float(evaluated(pictures)))
            means.index_add_(0, torch.from_numpy(pictures.labels), features, alpha=1 / TEST_PICTURES)
        learner.head.replace_rows(*nearest_mean(means))
        for task, pictures in zip(tasks, opened_of, strict=True):
            where = {"world": World(rank, size), "device": "cpu", "batch_size": 4, "loading": Loading()}
            found = evaluate_task(learner, pictures, task, **where, oracle=True, is_joint=is_joint)
            images = to_float(evaluated(pictures))
            both.append((found, one_by_one(learner, images, pictures.labels.tolist(), tasks, task.index)))
        return both
    finally:
        close_process_group()


@pytest.mark.parametrize(
    ("kind", "is_joint"),
    [("hlgp", False), ("dualprompt", False), ("linear", False), ("hlgp", True)],
)
def test_all_five_counts_of_three_tasks(kind: str, is_joint: bool, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    first, second = ranks.call(2, all_counts, kind, is_joint, str(drawn), str(tmp_path))
    assert first == second, "counts are of all ranks together"
    found, plain = (list(counts) for counts in zip(*first, strict=True))
    assert [replace(counts, task_weights=None) for counts in found] == [
        replace(counts, task_weights=None) for counts in plain
    ]
    total, right, _, oracle_right, within_right, weights = (
        list(count) for count in zip(*map(astuple, found), strict=True)
    )
    if kind == "linear" or is_joint:
        assert weights == [None] * 3
    else:
        for counts, expected in zip(found, plain, strict=True):
            assert counts.task_weights == pytest.approx(expected.task_weights, abs=1e-6)
            assert sum(counts.task_weights) == pytest.approx(1.0)
        assert kind != "hlgp" or len(set(weights)) == 3, "so that no task can stand for another"
    assert total == [10, 15, 15]
    if kind != "linear":
        assert sum(right) < sum(within_right), "so that one cannot stand for the other"
    assert (oracle_right != right) == (kind != "linear" and not is_joint)
