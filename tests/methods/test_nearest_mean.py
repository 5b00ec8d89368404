"""Nearest class mean by cosine: worked by hand, and without forgetting by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from hlgp_dist.config import classifier_options, schema
from hlgp_dist.methods.base import Method, Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.statistics import ClassStatistics, Spread, class_statistics
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Dimensions
from hlgp_dist.types import TaskSpec
from tests.jobs import TEST_PICTURES, job
from tests.ranks import Ranks

TASKS = (TaskSpec(0, 0, ("a", "b")), TaskSpec(1, 2, ("c",)))


class Points:
    """A stream of given features; pictures and features are the same here."""

    def __init__(self, features: list[list[float]], labels: list[int], classes: int) -> None:
        self.features, self.labels, self.classes = torch.tensor(features), torch.tensor(labels), classes

    def statistics(self, features: Callable[[Tensor], Tensor], width: int, spread: Spread) -> ClassStatistics:
        seen = [(features(self.features), self.labels)]
        return class_statistics(seen, self.classes, width, spread, lambda tensor: tensor)


def taught(tasks: int) -> Method:
    options = classifier_options.NearestMean(kind="ncm")
    method, trunk = build_method(options, Setting(Dimensions(1, 2, 2), TASKS, 0)), nn.Identity()
    streams = [Points([[1, 0], [3, 0], [0, 2]], [0, 0, 1], 2), Points([[-5, 0]], [0], 1)]
    for stream in streams[:tasks]:
        method.end_task(trunk, stream)  # type: ignore[arg-type]
    return method


def logits(method: Method, points: list[list[float]], task: TaskSpec) -> Tensor:
    return method(nn.Identity(), Head(2), torch.tensor(points), task).logits


def test_logits_are_cosines_to_the_means() -> None:
    found = logits(taught(1), [[2.0, 0.0], [3.0, 3.0], [0.0, -0.1]], TASKS[0])
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [half, half], [0.0, -1.0]]))


def test_later_tasks_add_columns_and_change_none() -> None:
    points = [[2.0, 1.0], [-2.0, 1.0]]
    before, after = logits(taught(1), points, TASKS[0]), logits(taught(2), points, TASKS[1])
    assert torch.equal(after[:, :2], before)
    assert before.argmax(1).tolist() == [0, 1]
    assert after.argmax(1).tolist() == [0, 2]


def test_a_run_without_an_engine(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """No gradient, no step; two ranks see what one sees."""
    results = []
    for size in (1, 2):
        config = job(drawn, tmp_path / f"run{size}", "benchmark.max_tasks=3", f"launch.num_workers={size}")
        method = {"method": classifier_options.NearestMean(kind="ncm"), "alignment": schema.NoAlignment()}
        folder, codes = ranks.run(config.model_copy(update=method))
        assert codes == [0] * size
        results.append(folder.read_result())
    alone, together = results
    assert alone is not None and together is not None
    assert alone["accuracy_matrix"] == together["accuracy_matrix"]
    assert alone["num_trainable_parameters"] == alone["num_head_parameters"] == 0
    assert alone["num_test_images"] == [2 * TEST_PICTURES] * 3
    assert alone["final_average_accuracy"] > 1 / 2, "the patterns differ even in random features"
