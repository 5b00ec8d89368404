"""What a run tells the world of numbers that it has, and of those it cannot have."""

from __future__ import annotations

import io
from pathlib import Path

from hlgp_dist.config.load import resolve
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.chronicle import Chronicle
from hlgp_dist.train.folder import RunFolder


def told(folder: Path, matrix: metrics.Matrix) -> tuple[dict[str, float], str]:
    """The scalars and the screen of a run that ends with this matrix."""
    config = resolve({"data": {"path": "x"}}).config
    numbers = metrics.summary(matrix, [10] * len(matrix[-1]))
    screen = io.StringIO()
    chronicle = Chronicle.open(config, folder, screen=screen, resumed_at=None, matrix=[], num_tasks=1, steps=1)
    with chronicle:
        chronicle.task_end(matrix, numbers, {"data/wait_seconds": 0.5})
        chronicle.finish(Position(), numbers)
    scalars = {tag: value for event in read_events(folder / "metrics.jsonl") for tag, value in event.tags.items()}
    return scalars, screen.getvalue()


def test_a_sequence_has_forgetting(tmp_path: Path) -> None:
    scalars, screen = told(tmp_path, [[1.0], [0.5, 0.75]])
    assert scalars["task/forgetting"] == scalars["hparam/forgetting"] == 0.5
    assert "forgetting 50.00 %" in screen


def test_tasks_learned_at_once_have_none(tmp_path: Path) -> None:
    scalars, screen = told(tmp_path, [[0.5, 0.75]])
    assert scalars["task/acc1_avg"] == scalars["hparam/final_avg_acc"] == 0.625
    assert not [tag for tag in scalars if "forgetting" in tag or "cum" in tag or "bwt" in tag]
    assert "62.50 %" in screen and "forgetting" not in screen


def test_the_matrix_of_tasks_learned_at_once_is_one_row(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_matrix([[0.5, 0.75]])
    assert folder.matrix.read_text() == "after_task,task_00,task_01\n0,0.5,0.75\n"
    folder.write_matrix([])
    assert folder.matrix.read_text() == "after_task\n"
