"""Ranks and warm-up against the steps of each task, refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.errors import ConfigError
from hlgp_dist.train.plan import TaskPlan, planned_steps
from hlgp_dist.train.preflight import check_fit
from tests.jobs import WITHOUT_GRADIENTS, job

SMALLEST = 19
"""Pictures, of the job's last task."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("launch.num_workers=17", "17 ranks are more.*, train.global_batch_size is 16$"),
        ("optimizer.schedule.warmup_steps=9", "9 must be less than the 6 steps of task"),
        ("optimizer.schedule.warmup_steps=6 train.max_steps_per_task=6", "6 must be less than the 6 steps of task"),
        ("optimizer.schedule.warmup_steps=2 train.max_steps_per_task=2", "2 must be less than the 2 steps of task 0"),
    ],
)
def test_ranks_and_warm_up_fit_the_steps(options: str, message: str, drawn: Path, tmp_path: Path) -> None:
    config = job(drawn, tmp_path / "run", *options.split())
    with pytest.raises(ConfigError, match=message):
        check_fit(config)


def test_without_steps_only_the_pictures_bound_the_ranks(drawn: Path, tmp_path: Path) -> None:
    kind = ("method.kind=ncm", *WITHOUT_GRADIENTS)
    check_fit(job(drawn, tmp_path / "run", *kind, f"launch.num_workers={SMALLEST}"))
    with pytest.raises(ConfigError, match=rf"{SMALLEST + 1} ranks .* has {SMALLEST} pictures$"):
        check_fit(job(drawn, tmp_path / "run", *kind, f"launch.num_workers={SMALLEST + 1}"))


def test_the_steps_of_a_run(drawn: Path, tmp_path: Path) -> None:
    config = job(drawn, tmp_path / "run", "engine.micro_batch_size=3")
    assert TaskPlan.of(config, 33, ranks=2) == TaskPlan(steps_per_epoch=3, total_steps=9, accumulation=3)
    assert planned_steps(config, [33, 16], ranks=2) == 9 + 3
    short = job(drawn, tmp_path / "run", "train.max_steps_per_task=4")
    assert planned_steps(short, [33, 16], ranks=1) == 4 + 3
    assert planned_steps(job(drawn, tmp_path / "run", "method.kind=ncm", *WITHOUT_GRADIENTS), [33], ranks=1) == 0
