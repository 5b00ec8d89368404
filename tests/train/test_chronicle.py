"""What a run tells the world of numbers that it has, and of those it cannot have."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hlgp_dist.config.load import resolve
from hlgp_dist.launch.trials import objectives
from hlgp_dist.methods.diagnostics import Diagnostics, alike
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.chronicle import Chronicle
from hlgp_dist.train.folder import RunFolder


def told(folder: Path, matrix: metrics.Matrix, sampled: Sequence[bool] = ()) -> tuple[dict[str, float], str]:
    """The scalars and the screen of a run that ends with this matrix, of which some rows are sampled."""
    sampled = sampled or [False] * len(matrix)
    config = resolve({"data": {"path": "x"}}).config
    numbers = metrics.summary(matrix, [10] * len(matrix[-1]))
    screen = io.StringIO()
    chronicle = Chronicle.open(config, folder, screen=screen, resumed_at=None, num_tasks=1, steps=1)
    with chronicle:
        chronicle.task_end(matrix, sampled, numbers, {"data/wait_seconds": 0.5})
        chronicle.finish(Position(), sampled, numbers)
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


SAMPLED = [[1.0], [0.5, 0.75], [0.5, 0.5, 0.75]]


def test_an_estimate_has_a_curve_of_its_own(tmp_path: Path) -> None:
    """After the second of more tasks, the first of which was tested in part."""
    scalars, screen = told(tmp_path, SAMPLED[:2], [False, True])
    assert scalars["task/acc1_avg_sampled"] == 0.625 and scalars["task/plasticity"] == 0.875
    assert scalars["eval/task_00/acc1_sampled"] == 0.5 and scalars["eval/task_01/acc1"] == scalars["task/acc1"] == 0.75
    assert not {"task/acc1_avg", "task/forgetting", "eval/task_00/acc1", "hparam/final_avg_acc"} & scalars.keys()
    assert "62.50 %" in screen and "(by a part of the earlier tasks' pictures)" in screen


def test_the_last_test_is_exact_and_what_reads_the_rows_before_is_not(tmp_path: Path) -> None:
    scalars, _ = told(tmp_path, SAMPLED, [False, True, False])
    assert scalars["task/acc1_avg"] == scalars["hparam/final_avg_acc"] == fmean(SAMPLED[-1])
    assert {"task/bwt", "task/plasticity", "eval/task_00/acc1", "task/forgetting_sampled"} <= scalars.keys()
    assert not {"task/forgetting", "hparam/forgetting", "task/acc1_cum_avg", "hparam/cum_avg_acc"} & scalars.keys()


def test_weights_and_prompts_are_told_as_curves_and_pictures(tmp_path: Path) -> None:
    """After the second task; then of a method that weights no tasks, and has no prompts."""
    config = resolve({"data": {"path": "x"}, "benchmark": {"validation_fraction": 0.2}}).config
    prompts = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    screen = io.StringIO()
    with Chronicle.open(config, tmp_path, screen=screen, resumed_at=None, num_tasks=2, steps=1) as chronicle:
        chronicle.matching([[0.75, 0.25], [0.5, 0.5]], is_sampled=True)
        chronicle.prompts(1, alike(prompts, "task"))
        chronicle.matching([], is_sampled=False)
        chronicle.prompts(2, Diagnostics())
    events = list(read_events(tmp_path / "metrics.jsonl"))
    assert [(event.axis, event.step, dict(event.tags)) for event in events] == [
        ("task", 1, {"val/true_task_weight_sampled": 0.625}),
        ("task", 1, {"prompts/similarity_between_tasks": pytest.approx(math.sqrt(0.5))}),
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert board.Tags()["images"] == ["task_confusion_sampled", "prompts/similarity_of_tasks"]


def test_the_matrix_says_which_rows_are_sampled(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_matrix(SAMPLED, [False, True, False])
    assert folder.matrix.read_text().splitlines() == [
        *("after_task,task_00,task_01,task_02,sampled", "0,1.0,,,0", "1,0.5,0.75,,1", "2,0.5,0.5,0.75,0"),
    ]
    assert objectives(folder) == [1.0, 0.625, fmean(SAMPLED[-1])]


def test_the_matrix_of_tasks_learned_at_once_is_one_row(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_matrix([[0.5, 0.75]], [False])
    assert folder.matrix.read_text() == "after_task,task_00,task_01\n0,0.5,0.75\n"
    folder.write_matrix([], [])
    assert folder.matrix.read_text() == "after_task\n"
