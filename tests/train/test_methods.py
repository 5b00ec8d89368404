"""Whole runs of every method: what a checkpoint inside a task must hold, and all classes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs import TEST_PICTURES, WITHOUT_GRADIENTS, as_it_was, job
from tests.ranks import Ranks
from tests.results import unmeasured

KINDS = {
    "l2p": ("method.pool_size=4", "method.top_k=2"),
    "dualprompt": (),
    "coda": ("method.num_components=10",),
    "apt": (),
    "full": ("optimizer.prompt_lr=0.001",),
    "hlgp": (
        "method.prompt_length=2",
        "method.generator.frozen_after_first_task=true",
        "method.train_mixture=current",
        "method.matching.kind=auxiliary",
        "method.matching.classifier.kind=ranpac",
        "method.matching.classifier.projection_width=40",
        "method.prediction=combined",
    ),
}
JOINT = {
    "linear": ("optimizer.prompt_lr=0.003", "alignment.kind=none", "train.epochs=4"),
    "ncm": WITHOUT_GRADIENTS,
}
TWO_TASKS = ("benchmark.max_tasks=2", "train.epochs=2", "checkpoint.every_steps=2", "checkpoint.keep=99")


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_inside_a_task_holds_all_of_a_method(kind: str, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    options = [f"method.kind={kind}", *KINDS[kind], *TWO_TASKS]
    whole, codes = ranks.run(job(drawn, tmp_path / "whole", *options))
    assert codes == [0]
    as_it_was(whole, tmp_path / "resumed", "task-01-step-000002")
    resumed, codes = ranks.run(job(drawn, tmp_path / "resumed", *options))
    assert codes == [0]
    assert unmeasured(resumed) == unmeasured(whole)
    last = "checkpoints/task-02-step-000000/state.safetensors"
    assert (resumed.path / last).read_bytes() == (whole.path / last).read_bytes()


@pytest.mark.parametrize("kind", ["hlgp", "linear", "full", "ncm"])
def test_all_classes_at_once_are_tested_by_task(kind: str, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    own = JOINT.get(kind, (*KINDS.get(kind, ()), "alignment.kind=none", "train.epochs=4"))
    folder, codes = ranks.run(job(drawn, tmp_path / "run", f"method.kind={kind}", "train.stream=joint", *own))
    assert codes == [0]
    result = folder.read_result()
    assert result is not None
    (row,) = result["accuracy_matrix"]
    assert len(row) == 5 and result["num_test_images"] == [2 * TEST_PICTURES] * 5
    assert result["final_average_accuracy"] == pytest.approx(sum(row) / 5)
    assert result["final_average_accuracy"] > 1 / 4, "by chance it would be a tenth"
    assert result["task_sizes"] == [2] * 5
    assert all(result[name] is None for name in ("cumulative_average_accuracy", "forgetting", "backward_transfer"))
    assert result["plasticity"] is None and result["oracle_task_accuracy"] is None
    assert result["final_average_accuracy"] <= result["task_identification_accuracy"] <= 1.0
    assert result["within_task_accuracy"] >= result["final_average_accuracy"]
    assert (folder.path / "accuracy_matrix.csv").read_text().splitlines()[0].endswith("task_04")


@pytest.mark.parametrize(
    ("options", "training", "test"),
    [
        (("method.prompt_length=2",), 2, 2),
        (("method.prompt_length=2", "method.train_mixture=current", "method.matching.cycles=3"), 1, 3),
        (("method.kind=l2p", "method.pool_size=4", "method.top_k=2"), 2, 2),
        (("method.kind=apt",), 1, 1),
    ],
)
def test_passes_are_counted(
    options: tuple[str, ...], training: int, test: int, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *options, "benchmark.max_tasks=2", "train.epochs=1"))
    assert codes == [0]
    result = folder.read_result()
    assert result is not None
    assert result["passes_per_image"] == {"training": training, "test": test}
    assert result["training_seconds"] > 0.0
