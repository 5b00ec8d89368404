"""A real search: Ray Tune, ASHA, trials of two DeepSpeed workers, one of which cannot run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.jobs import job, written

TRIALS = {
    "space": {"method.num_groups": {"grid": [1, 99, 3]}},
    "num_samples": 1,
    "scheduler": {"kind": "asha", "grace_tasks": 1},
    "validation_fraction": 0.3,
}


def hlgp(*arguments: str, mark: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hlgp_dist.cli import main; main()", *arguments]
    environment = os.environ | {"HLGP_TEST_MARK": mark}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)


def marked_processes(mark: str) -> list[str]:
    """Command lines of living processes that descend from the marked command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HLGP_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def search(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str], str]:
    """SEARCH/, the finished command, and the mark of its processes."""
    root, mark = tmp_path_factory.mktemp("search"), uuid.uuid4().hex
    config = job(drawn, root / "search", "launch.num_workers=2", "benchmark.max_tasks=3", "train.epochs=1")
    file = written(config, root / "search.yaml")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": TRIALS}))
    return root / "search", hlgp("tune", str(file), mark=mark), mark


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_failed_trial_fails_itself_and_not_the_search(search) -> None:
    folder, command, _ = search
    assert command.returncode == 7, command.stderr[-2000:]
    rows = rows_of(folder)
    assert [row["method.num_groups"] for row in rows] == ["1", "99", "3"]
    assert rows[1]["status"] == "failed" and "99 groups do not fit 6 prompted blocks" in rows[1]["reason"]
    assert {row["status"] for row in (rows[0], rows[2])} <= {"done", "stopped"}
    assert "1 of 3 trials failed" in command.stderr and "Traceback" not in command.stderr


def test_asha_stops_at_rungs_only_and_the_winner_finished(search) -> None:
    folder, _, _ = search
    rows = [row for row in rows_of(folder) if row["status"] != "failed"]
    assert all(row["tasks_finished"] == ("3" if row["status"] == "done" else row["tasks_finished"]) for row in rows)
    assert all(row["tasks_finished"] in ("1", "2") for row in rows if row["status"] == "stopped")
    result = json.loads((folder / "result.json").read_text())
    done = [row for row in rows if row["status"] == "done"]
    assert result["best_objective"] == max(float(row["objective"]) for row in done)
    assert result["best_trial"] in {row["trial"] for row in done}


def test_trials_saw_validation_pictures_only_and_the_winner_was_tested_once(search) -> None:
    folder, _, _ = search
    for row in rows_of(folder):
        trial = folder / "trials" / row["trial"]
        if row["status"] == "done":
            assert json.loads((trial / "result.json").read_text())["evaluated_on"] == "validation"
        if row["status"] != "failed":
            assert "task/" not in (trial / "metrics.jsonl").read_text()
    best = json.loads((folder / "best" / "result.json").read_text())
    assert best["evaluated_on"] == "test" and best["num_test_images"] == [10, 10, 10]
    assert best["num_workers"] == 2 and json.loads((folder / "result.json").read_text())["test"] == best


def test_every_trial_has_its_curves_and_the_same_hparams_columns(search) -> None:
    folder, _, _ = search
    runs = [folder / "best", *(folder / "trials" / row["trial"] for row in rows_of(folder) if row["status"] == "done")]
    for run in runs:
        events = EventAccumulator(str(run / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == sorted(
            {event.step for event in events.Scalars("train/loss")}
        )
        assert {"hparam/final_avg_acc", "hparam/forgetting"} <= set(events.Tags()["scalars"])
        assert events.Tags()["images"] == ["acc_matrix"]


def test_no_process_is_left_behind(search) -> None:
    _, _, mark = search
    assert marked_processes(mark) == []


def test_a_trial_that_can_never_be_placed_is_refused(drawn: Path, tmp_path: Path) -> None:
    config = job(drawn, tmp_path / "search", "launch.num_workers=2", "launch.gpus_per_worker=64")
    file = written(config, tmp_path / "search.yaml")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": TRIALS}))
    command = hlgp("tune", str(file), mark=uuid.uuid4().hex)
    assert command.returncode == 4, command.stderr[-2000:]
    assert "one run needs" in command.stderr and "128 GPU" in command.stderr
