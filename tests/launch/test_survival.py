"""Runs that lose ranks, memory or patience, and end as the run left in peace."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.launch.start import start_run
from hlgp_dist.train.folder import RunFolder
from tests.failing import Fault, inject
from tests.jobs import job, step_values
from tests.ranks import Ranks
from tests.train.test_other_ranks import assert_equal

pytestmark = pytest.mark.timeout(900)
"""Many processes start, which takes minutes where others use the cores."""
OPTIONS = ("train.epochs=4", "benchmark.max_tasks=4", "checkpoint.every_steps=2", "launch.num_workers=2")
WAIT_SECONDS = 200
MEASURED = {"images_per_second", "training_seconds", "decoded_images", "attempts"}
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]


@pytest.fixture(scope="module")
def quiet(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    folder, codes = ranks.run(job(drawn, tmp_path_factory.mktemp("quiet") / "run", *OPTIONS))
    assert codes == [0, 0]
    return folder


def result_of(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_result()
    assert result is not None
    return {key: value for key, value in result.items() if key not in MEASURED}


def assert_same(folder: RunFolder, quiet: RunFolder) -> None:
    """Bit for bit, and every step is recorded once."""
    assert result_of(folder) == result_of(quiet)
    assert step_values(folder) == step_values(quiet)


def test_a_killed_and_a_sleeping_rank(
    drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, tmp_path / "faults", Fault("kill", 1, 1, 3), Fault("sleep", 0, 2, 5))
    folder, result = start_run(job(drawn, tmp_path / "run", *OPTIONS, "launch.hang_seconds=12"), "job")
    assert_same(folder, quiet)
    killed, hung = result["attempts"]
    assert killed["failure"] == "LostWorker" and killed["reason"].startswith("rank 1 was killed by SIGKILL")
    assert hung["failure"] == "HungWorker"
    assert re.fullmatch(r"rank 0 on \S+ silent for \d+ s in task 2 step 6; stacks in logs/", hung["reason"])
    assert "in _fail" in (folder.logs / "rank-000.stacks.txt").read_text()
    assert "all_reduce" in (folder.logs / "rank-001.stacks.txt").read_text()
    assert [attempt["attempt"] for attempt in folder.read_attempts()] == [1, 2, 3]


def test_a_rank_out_of_memory(drawn: Path, tmp_path: Path, quiet: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others only notice that it has gone; all of them go on in smaller micro-batches."""
    inject(monkeypatch, tmp_path / "faults", Fault("memory", 1, 1, 3))
    folder, result = start_run(job(drawn, tmp_path / "run", *OPTIONS), "job")
    assert [(one["failure"], one["micro_batch_size"]) for one in folder.read_attempts()] == [
        ("OutOfMemory", 8),
        (None, 4),
    ]
    assert result["attempts"][0]["reason"].startswith("out of memory: injected")
    changes = (folder.logs / "changes.log").read_text()
    assert "engine.micro_batch_size: None -> 4" in changes and "evaluation.batch_size: 128 -> 64" in changes
    assert_equal(folder, quiet)
