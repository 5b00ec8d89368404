"""ZeRO 3 divides the trunk too: the same losses, evaluation through divided modules, checkpoints of any stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.train.folder import RunFolder
from tests.jobs import as_it_was, job, step_values
from tests.oracle import oracle_steps
from tests.ranks import Ranks

TASKS = 2
LOSS_RTOL = 1e-5
"""See test_oracle.py."""
OPTIONS = ("benchmark.max_tasks=2", "engine.zero_stage=3", "checkpoint.every_steps=2", "checkpoint.keep=99")
TWO = ("launch.num_workers=2",)
SHORT = (*TWO, "benchmark.max_tasks=2", "train.epochs=1")
INSIDE_TASK = "task-01-step-000002"


@pytest.fixture(scope="module")
def divided(drawn: Path, tmp_path_factory: pytest.TempPathFactory, own_ranks: Ranks) -> RunFolder:
    """Two ranks, two tasks."""
    folder, codes = own_ranks.run(job(drawn, tmp_path_factory.mktemp("zero3") / "run", *OPTIONS, *TWO))
    assert codes == [0, 0]
    return folder


def matrix(folder: RunFolder) -> object:
    result = folder.read_result()
    assert result is not None
    return result["accuracy_matrix"], result["num_stored_parameters"], result["num_trainable_parameters"]


def test_the_losses_of_the_first_task_are_the_oracles(divided: RunFolder, drawn: Path) -> None:
    expected = [step.loss for step in oracle_steps(job(drawn, divided.path), 1)]
    losses = list(step_values(divided).values())
    assert losses[: len(expected)] == pytest.approx(expected, rel=LOSS_RTOL, abs=0.0)


def test_a_checkpoint_inside_a_task_goes_on_as_if_nothing_had_been(
    divided: RunFolder, drawn: Path, tmp_path: Path, own_ranks: Ranks
) -> None:
    folder = as_it_was(divided, tmp_path / "run", INSIDE_TASK)
    _, codes = own_ranks.run(job(drawn, folder.path, *OPTIONS, *TWO))
    assert codes == [0, 0]
    assert step_values(folder) == step_values(divided)
    assert matrix(folder) == matrix(divided)


@pytest.mark.parametrize("stage", [0, 2])
def test_another_stage_goes_on_with_its_checkpoint(
    stage: int, divided: RunFolder, drawn: Path, tmp_path: Path, own_ranks: Ranks
) -> None:
    folder = as_it_was(divided, tmp_path / "run", INSIDE_TASK)
    _, codes = own_ranks.run(job(drawn, folder.path, *OPTIONS, *TWO, f"engine.zero_stage={stage}"))
    assert codes == [0, 0]
    assert list(step_values(folder).values()) == pytest.approx(list(step_values(divided).values()), rel=LOSS_RTOL)
    assert matrix(folder) == matrix(divided)


def test_zero3_goes_on_with_a_checkpoint_of_another_stage(
    divided: RunFolder, drawn: Path, tmp_path: Path, own_ranks: Ranks
) -> None:
    whole, codes = own_ranks.run(job(drawn, tmp_path / "whole", *OPTIONS, *TWO, "engine.zero_stage=0"))
    assert codes == [0, 0]
    folder = as_it_was(whole, tmp_path / "run", INSIDE_TASK)
    _, codes = own_ranks.run(job(drawn, folder.path, *OPTIONS, *TWO))
    assert codes == [0, 0]
    assert list(step_values(folder).values()) == pytest.approx(list(step_values(divided).values()), rel=LOSS_RTOL)
    assert matrix(folder) == matrix(divided)


def test_what_a_method_tells_of_its_prompts_is_of_whole_ones(drawn: Path, tmp_path: Path, own_ranks: Ranks) -> None:
    """Of a method that reads a weight of the trunk, too: the position that its prompts get."""
    told = []
    pool = ("method.kind=l2p", "method.insertion=tokens", "method.pool_size=4", "method.top_k=2")
    for stage in (0, 3):
        folder, codes = own_ranks.run(job(drawn, tmp_path / str(stage), *pool, *SHORT, f"engine.zero_stage={stage}"))
        assert codes == [0, 0]
        told.append(step_values(folder, "prompts/similarity_between_components"))
    assert told[1] == pytest.approx(told[0], rel=1e-3) and list(told[0]) == [0, 1]


def test_one_rank_alone(divided: RunFolder, drawn: Path, tmp_path: Path, own_ranks: Ranks) -> None:
    """Last, for the first process then numbers its parameters differently from the second."""
    folder, codes = own_ranks.run(job(drawn, tmp_path / "run", *OPTIONS))
    assert codes == [0]
    assert list(step_values(folder).values()) == pytest.approx(list(step_values(divided).values()), rel=LOSS_RTOL)
    assert matrix(folder) == matrix(divided)
