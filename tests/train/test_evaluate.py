"""Testing one task over two ranks: every picture once, the counts of plain code, and no result of broken logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hlgp_dist.config import method_options, schema
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.selection import select
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.errors import NonFiniteLoss
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.train.evaluate import evaluate_task
from hlgp_dist.train.learner import Learner
from hlgp_dist.train.rehearsal import TINY
from hlgp_dist.types import World
from tests.jobs import evaluated, opened
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
