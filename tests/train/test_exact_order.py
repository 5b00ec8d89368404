"""Losses of whole runs: neither ranks nor loader workers nor a resume at any step change the pictures of a step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlgp_dist.train.folder import RunFolder
from tests.jobs import as_it_was, job, step_values
from tests.ranks import Ranks
from tests.train.test_other_ranks import LOSS_RTOL

STEPS = 6
"""Of the one epoch: 23 pictures in batches of 4, the last of 3."""
OPTIONS = (
    "benchmark.max_tasks=1",
    "alignment.kind=none",
    "train.epochs=1",
    "train.global_batch_size=4",
    "data.augmentation.jitter={}",
    "checkpoint.every_steps=1",
    "checkpoint.keep=99",
)

EPOCHS = 3
WHOLE_TASK = (f"train.epochs={EPOCHS}",)


@pytest.fixture(scope="module")
def alone(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    """One rank, whose training thread loads."""
    options = (*OPTIONS, "data.loader_workers=0")
    folder, codes = ranks.run(job(drawn, tmp_path_factory.mktemp("order") / "run", *options))
    assert codes == [0]
    assert len(step_values(folder)) == STEPS
    return folder


@pytest.mark.parametrize("workers", [1, 3])
def test_loader_workers_change_no_bit(
    workers: int, alone: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *OPTIONS, f"data.loader_workers={workers}"))
    assert codes == [0]
    for tag in ("train/loss", "train/grad_norm"):
        assert step_values(folder, tag) == step_values(alone, tag)


def test_two_ranks_have_the_same_losses(alone: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """In micro-batches of one, so that the last batch of three leaves a share empty."""
    options = ("launch.num_workers=2", "engine.micro_batch_size=1", "data.loader_workers=3")
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *OPTIONS, *options))
    assert codes == [0, 0]
    assert_close(folder, alone)


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_resume_at_any_step_goes_on_alike(
    step: int, alone: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(alone, tmp_path / "run", f"task-00-step-{step:06d}")
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS, f"data.loader_workers={step % 3}"))
    assert codes == [0]
    assert step_values(folder) == step_values(alone)


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    processes = Ranks(4)
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def whole_task(drawn: Path, tmp_path_factory: pytest.TempPathFactory, four: Ranks) -> RunFolder:
    """One rank."""
    folder, codes = four.run(job(drawn, tmp_path_factory.mktemp("task") / "run", *OPTIONS, *WHOLE_TASK))
    assert codes == [0] and len(step_values(folder)) == EPOCHS * STEPS
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("size", [2, 4])
def test_a_whole_task_has_the_same_losses(
    size: int, whole_task: RunFolder, drawn: Path, tmp_path: Path, four: Ranks
) -> None:
    options = (*OPTIONS, *WHOLE_TASK, f"launch.num_workers={size}")
    folder, codes = four.run(job(drawn, tmp_path / "run", *options))
    assert codes == [0] * size
    assert_close(folder, whole_task)


@pytest.mark.soak
@pytest.mark.parametrize("stops", [(2, 4), (8, 15)], ids=["inside an epoch", "over epochs"])
def test_four_ranks_then_two_then_one(
    stops: tuple[int, int], whole_task: RunFolder, drawn: Path, tmp_path: Path, four: Ranks
) -> None:
    """Each leaves off inside the task, where the next goes on."""
    path = tmp_path / "run"
    for size, steps in zip((4, 2, 1), (*stops, None), strict=True):
        folder, codes = four.run(job(drawn, path, *OPTIONS, *WHOLE_TASK, f"launch.num_workers={size}"))
        assert codes == [0] * size
        if steps is not None:
            whole = RunFolder(shutil.move(path, tmp_path / f"{size}"))
            folder = as_it_was(whole, path, f"task-00-step-{steps:06d}")
    assert_close(folder, whole_task)


def assert_close(folder: RunFolder, other: RunFolder) -> None:
    """As far as fp32 sums in another order differ."""
    ours, others = step_values(folder), step_values(other)
    assert list(ours) == list(others)
    assert list(ours.values()) == pytest.approx(list(others.values()), rel=LOSS_RTOL, abs=0.0)
