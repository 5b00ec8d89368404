"""Whole runs on pictures that are drawn: they learn, and are the same on any ranks and after any interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.collect import find
from hlgp_dist.study.likeness import refuse_unlike
from hlgp_dist.train.estimate.run import estimate_run
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.preflight import preflight
from tests.jobs import as_it_was, job, step_values
from tests.ranks import Ranks

DRAWN = ("data.kind=synthetic", "data.classes=10", "data.train_per_class=12", "data.test_per_class=5", "data.size=36")


def drawing(folder: Path, *overrides: str) -> RunConfig:
    """The run of `job`, of drawn pictures."""
    return job(folder.parent / "nowhere", folder, *DRAWN, f"data.cache_dir={folder.parent / 'stores'}", *overrides)


def result_of(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_finished()
    assert result is not None, folder.read_result()
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    options = ("checkpoint.every_steps=2", "checkpoint.keep=99", "launch.num_workers=2")
    folder, codes = ranks.run(drawing(tmp_path_factory.mktemp("drawn") / "run", *options))
    assert codes == [0, 0]
    return folder


def test_they_are_learned(whole: RunFolder) -> None:
    result = result_of(whole)
    assert result["final_average_accuracy"] > 0.5, "by chance it would be a tenth"
    assert result["num_test_images"] == [10] * 5 and result["class_order"][0].startswith("class-")
    assert result["prepared_from"] == "synthetic, 10 classes of 12 + 5 pictures of 36 px, seed 0"
    assert sum(result["decoded_images"]) == 10 * (12 + 5) and result["bytes_read"] == [0] * 5


def test_another_number_of_ranks_sees_the_same(whole: RunFolder, tmp_path: Path, ranks: Ranks) -> None:
    alone, codes = ranks.run(drawing(tmp_path / "run", "benchmark.max_tasks=1", "data.cache_limit_gb=1e-9"))
    assert codes == [0]
    first = {step: loss for step, loss in step_values(whole).items() if step <= max(step_values(alone))}
    assert step_values(alone) == pytest.approx(first, rel=1e-5)
    assert result_of(alone)["dataset"] == result_of(whole)["dataset"]


def test_an_interrupted_run_ends_as_a_whole_one(whole: RunFolder, tmp_path: Path, ranks: Ranks) -> None:
    as_it_was(whole, tmp_path / "resumed", "task-02-step-000002")
    folder, codes = ranks.run(drawing(tmp_path / "resumed", "checkpoint.every_steps=2", "launch.num_workers=2"))
    assert codes == [0, 0]
    assert result_of(folder)["accuracy_matrix"] == result_of(whole)["accuracy_matrix"]


def test_they_stand_in_no_table_with_others(whole: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    real, codes = ranks.run(job(drawn, tmp_path / "real", "train.epochs=1", "benchmark.max_tasks=2"))
    assert codes == [0]
    runs = find([whole, real]).runs
    with pytest.raises(ConfigError, match=r"dataset: .*\n.*prepared_from: .*synthetic"):
        refuse_unlike(runs)


def test_a_plan_reads_nothing_and_asks_for_no_folder(tmp_path: Path) -> None:
    config = drawing(tmp_path / "run")
    assert len(preflight(config)) == 5
    run = estimate_run(config)
    assert run.data.read == 0 and run.data.decoded == 10 * (12 + 5)
    assert [work.pictures for work in run.works] == [24] * 5
