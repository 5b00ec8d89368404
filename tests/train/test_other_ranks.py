"""The number of ranks changes no result, nor does changing it on the way; a bad loss ends all ranks together."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hlgp_dist.errors import NonFiniteLoss
from hlgp_dist.launch.start import start_run
from hlgp_dist.train.folder import RunFolder
from tests.jobs import TEST_PICTURES, WITHOUT_GRADIENTS, as_it_was, job, step_values
from tests.ranks import Ranks

LOSS_RTOL = 1e-5
"""See tests/engine/test_oracle.py."""
COMPARED_STEPS = 20
OPTIONS = ("checkpoint.every_steps=2", "checkpoint.keep=99")


def right_predictions(folder: RunFolder) -> torch.Tensor:
    """Counts of the accuracy matrix's lower triangle, as a square."""
    result = folder.read_result()
    assert result is not None
    fractions = [[fraction or 0.0 for fraction in row] for row in result["accuracy_matrix"]]
    return (torch.tensor(fractions) * torch.tensor(result["num_test_images"])).round()


def assert_equal(folder: RunFolder, other: RunFolder) -> None:
    """At most one prediction a cell apart, and the first losses as far as fp32 sums in another order differ."""
    assert (right_predictions(folder) - right_predictions(other)).abs().max() <= 1
    ours, others = (list(step_values(one).values())[:COMPARED_STEPS] for one in (folder, other))
    assert ours == pytest.approx(others, rel=LOSS_RTOL, abs=0.0)
    assert list(step_values(folder)) == list(step_values(other))


@pytest.fixture(scope="module")
def alone(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    folder, codes = ranks.run(job(drawn, tmp_path_factory.mktemp("alone") / "run", *OPTIONS))
    assert codes == [0]
    return folder


@pytest.fixture(scope="module")
def together(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    """On two ranks, in micro-batches, at ZeRO 2."""
    options = ("launch.num_workers=2", "engine.zero_stage=2", "engine.micro_batch_size=4", "evaluation.batch_size=3")
    folder, codes = ranks.run(job(drawn, tmp_path_factory.mktemp("together") / "run", *OPTIONS, *options))
    assert codes == [0, 0]
    return folder


def test_two_ranks_come_to_the_same(alone: RunFolder, together: RunFolder) -> None:
    assert_equal(together, alone)


def test_every_test_picture_is_seen_once(alone: RunFolder, together: RunFolder) -> None:
    for folder in (alone, together):
        result = folder.read_result()
        assert result is not None
        assert result["num_test_images"] == [2 * TEST_PICTURES] * 5


@pytest.mark.parametrize("at", ["task-01-step-000002", "task-02-step-000000"])
@pytest.mark.parametrize("grows", [True, False])
def test_a_run_goes_on_with_other_ranks_and_another_stage(
    at: str, grows: bool, alone: RunFolder, together: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(alone if grows else together, tmp_path / "run", at)
    size, stage = (2, 2) if grows else (1, 0)
    options = (f"launch.num_workers={size}", f"engine.zero_stage={stage}")
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS, *options))
    assert codes == [0] * size
    assert_equal(folder, alone)


AUXILIARY = ("train.epochs=1", "method.train_mixture=current", "method.matching.kind=auxiliary")
COMBINED = (
    *AUXILIARY,
    "method.prediction=combined",
    "method.matching.classifier.kind=ranpac",
    "method.matching.classifier.projection_width=40",
)
SUMMED = {
    "gaussian": ("method.kind=gaussian", *WITHOUT_GRADIENTS),
    "ranpac": ("method.kind=ranpac", "method.projection_width=40", *WITHOUT_GRADIENTS),
    "auxiliary": AUXILIARY,
    "combined": COMBINED,
    "combined-unaligned": (*COMBINED, "alignment.kind=none"),
    "combined-full": (*COMBINED, "alignment.kind=full"),
}
"""What sums over all pictures decide, without gradients or beside them: closed forms, task matching, alignment."""
PLACES = [
    (method, stage) for method in SUMMED for stage in (0, 2) if stage == 0 or method not in ("gaussian", "ranpac")
]
"""Without gradients there is no engine, so no ZeRO."""


@pytest.fixture(scope="module")
def once(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> Callable[[str], RunFolder]:
    """A method's run on one rank at ZeRO 0."""
    folder = tmp_path_factory.mktemp("once")

    @cache
    def run(method: str) -> RunFolder:
        ran, codes = ranks.run(job(drawn, folder / method, *SUMMED[method], "benchmark.max_tasks=3"))
        assert codes == [0]
        return ran

    return run


@pytest.mark.parametrize(("method", "stage"), PLACES)
def test_sums_over_pictures_of_two_ranks_come_to_the_same(
    method: str, stage: int, once: Callable[[str], RunFolder], drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    place = ["launch.num_workers=2", "benchmark.max_tasks=3", *([f"engine.zero_stage={stage}"] if stage else [])]
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *SUMMED[method], *place))
    assert codes == [0, 0]
    assert_equal(folder, once(method))


DIVERGING = ("optimizer.kind=sgd", "optimizer.head_lr=1e30", "optimizer.prompt_lr=1e30", "launch.num_workers=2")


def test_a_non_finite_loss_stops_all_ranks_together(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    options = ("checkpoint.every_steps=1", "telemetry.log_every_steps=100")
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *DIVERGING, *options))
    assert codes == [6, 6]
    for file in folder.checkpoints.glob("*/state.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())


def test_an_alignment_that_diverges_is_no_result(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    options = ("benchmark.max_tasks=2", "alignment.learning_rate=1e30", "launch.num_workers=2")
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *options))
    assert codes == [6, 6]
    reason = (folder.logs / "attempts/000/rank-000.failure.json").read_text()
    assert "alignment.learning_rate: alignment after task 1 diverged" in reason
    assert not folder.result.exists()


def test_a_non_finite_loss_is_the_reason_in_the_result(drawn: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(NonFiniteLoss, match=r"train/\w+ is (nan|inf) in task \d by step \d"):
        start_run(job(drawn, folder.path, *DIVERGING), "job")
    result = json.loads(folder.result.read_text())
    assert result["exit_code"] == 6 and "by step" in result["reason"]
