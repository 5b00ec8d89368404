"""A real search: Ray Tune, ASHA, trials of two DeepSpeed workers, some of which cannot run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.jobs import job, written

TRIALS = {
    "space": {
        "optimizer.prompt_lr": {"grid": [0.01, 30.0]},
        "optimizer.head_lr": {"grid": [0.05, 1e30]},  # the second has no finite loss
    },
    "num_samples": 1,
    "scheduler": {"kind": "asha", "grace_tasks": 1},
    "validation_fraction": 0.3,
    "max_tasks": 3,
}


HLGP = (sys.executable, "-c", "from hlgp_dist.cli import main; main()")


class Stopped(NamedTuple):
    """How a command ended after a signal: exit code, what it said, what result.json said, processes left behind."""

    exit_code: int
    message: str
    result: dict[str, Any]
    left_over: list[str]


def hlgp(*arguments: str, mark: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HLGP_TEST_MARK": mark}
    return subprocess.run(
        [*HLGP, *arguments], capture_output=True, text=True, env=environment, timeout=580, check=False
    )


def stopped_inside(folder: Path, *arguments: str, mark: str) -> Stopped:
    """SIGTERM as soon as a trial has finished a task."""
    environment = os.environ | {"HLGP_TEST_MARK": mark}
    command = subprocess.Popen([*HLGP, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    while not any(folder.glob("trials/*/checkpoints/task-01-*")):
        assert command.poll() is None, "it ended by itself"
        time.sleep(0.05)
    command.send_signal(signal.SIGTERM)
    _, message = command.communicate(timeout=60)
    assert (folder / "result.json").is_file(), f"{command.returncode}: {message}"
    return Stopped(command.returncode, message, json.loads((folder / "result.json").read_text()), left_over(mark))


def left_over(mark: str) -> list[str]:
    """Marked processes that live on; Ray's workers notice a moment later that their raylet has gone."""
    deadline = time.monotonic() + 20
    while (alive := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive


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


class Search(NamedTuple):
    """SEARCH/, how its first command was stopped, how the second ended, and the mark of their processes."""

    folder: Path
    stopped: Stopped
    command: subprocess.CompletedProcess[str]
    mark: str


@pytest.fixture(scope="module")
def search(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search stopped in its midst, then run again."""
    root, mark = tmp_path_factory.mktemp("search"), uuid.uuid4().hex
    options = ("train.epochs=1", "train.global_batch_size=8")  # two steps a task: a new head's first moves no prompt
    config = job(drawn, root / "search", "launch.num_workers=2", "benchmark.max_tasks=4", *options)
    file = written(config, root / "search.yaml")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": TRIALS}))
    stopped = stopped_inside(root / "search", "tune", str(file), mark=mark)
    return Search(root / "search", stopped, hlgp("tune", str(file), mark=mark), mark)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_signal_ends_a_search_as_interrupted(search: Search) -> None:
    stopped = search.stopped
    assert stopped.exit_code == 75
    *before, last = stopped.message.splitlines()  # Ray says so first where there is no network
    reason = "stopped by a signal with its trials saved; the same command resumes"
    assert last == f"hlgp: exit code 75 ({reason}); results in {search.folder}"
    assert not any("Traceback" in line for line in before)
    assert stopped.result["exit_code"] == 75
    assert stopped.left_over == []


def test_failed_trials_fail_themselves_and_not_the_search(search: Search) -> None:
    folder, command = search.folder, search.command
    assert command.returncode == 7, command.stderr[-2000:]
    rows = rows_of(folder)
    status = {(float(row["optimizer.prompt_lr"]), float(row["optimizer.head_lr"])): row["status"] for row in rows}
    assert status == {(0.01, 0.05): "done", (30.0, 0.05): "stopped", (0.01, 1e30): "failed", (30.0, 1e30): "failed"}
    assert "2 of 4 trials failed" in command.stderr and "Traceback" not in command.stderr
    reasons = [row["reason"] for row in rows if row["status"] == "failed"]
    assert all(reason.endswith("in task 0 by step 2") for reason in reasons), reasons


def test_asha_stops_at_rungs_only_and_the_winner_finished(search: Search) -> None:
    folder = search.folder
    rows = [row for row in rows_of(folder) if row["status"] != "failed"]
    assert all(row["tasks_finished"] == "3" for row in rows if row["status"] == "done")
    assert all(row["tasks_finished"] in ("1", "2") for row in rows if row["status"] == "stopped")
    result = json.loads((folder / "result.json").read_text())
    done = [row for row in rows if row["status"] == "done"]
    assert result["best_objective"] == max(float(row["objective"]) for row in done)
    assert result["best_trial"] in {row["trial"] for row in done}


def test_trials_saw_validation_pictures_only_and_the_winner_was_tested_once(search: Search) -> None:
    folder = search.folder
    for row in rows_of(folder):
        trial = folder / "trials" / row["trial"]
        if row["status"] == "done":
            assert json.loads((trial / "result.json").read_text())["evaluated_on"] == "validation"
        if row["status"] != "failed":
            assert "task/" not in (trial / "metrics.jsonl").read_text()
    best = json.loads((folder / "best" / "result.json").read_text())
    assert best["evaluated_on"] == "test" and best["num_test_images"] == [10] * 4, "the trials ended after three tasks"
    assert best["num_workers"] == 2 and json.loads((folder / "result.json").read_text())["test"] == best


def hparams(events: EventAccumulator) -> dict[str, Any]:
    """The HParams of a run, as TensorBoard reads them."""
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return dict(HParamsPluginData.FromString(content).session_start_info.hparams)


def test_every_trial_has_its_curves_and_the_same_hparams_columns(search: Search) -> None:
    folder = search.folder
    runs = [folder / "best", *(folder / "trials" / row["trial"] for row in rows_of(folder) if row["status"] == "done")]
    columns: list[list[str]] = []
    for run in runs:
        events = EventAccumulator(str(run / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == sorted(
            {event.step for event in events.Scalars("train/loss")}
        )
        assert {"hparam/final_avg_acc", "hparam/forgetting"} <= set(events.Tags()["scalars"])
        columns.append(sorted(hparams(events)))
        assert {"acc_matrix", "task_confusion", "prompts/similarity_of_tasks"} <= set(events.Tags()["images"])
    assert all(column == columns[0] for column in columns) and "evaluated_on" in columns[0]


def test_no_process_is_left_behind(search: Search) -> None:
    assert left_over(search.mark) == []


def test_a_trial_that_can_never_be_placed_is_refused(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = job(drawn, tmp_path / "search", "launch.kind=ray", "launch.num_workers=2", "launch.gpus_per_worker=1")
    file = written(config, tmp_path / "search.yaml")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": TRIALS}))
    command = hlgp("tune", str(file), mark=uuid.uuid4().hex)
    assert command.returncode == 4, command.stderr[-2000:]
    assert "one run needs" in command.stderr and "2 GPU" in command.stderr
