"""A run's record is read back from the files TensorBoard reads, also after kills and resumes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from hlgp_dist.config.load import resolve
from hlgp_dist.errors import Interrupted
from hlgp_dist.telemetry.board import FLUSH_SECONDS, HParam
from hlgp_dist.telemetry.figures import accuracy_matrix
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.telemetry.pages import Chart, Page
from hlgp_dist.telemetry.recorder import HPARAM_METRICS, Recorder, ResumePoint, hparams_of

HPARAMS: dict[str, HParam] = {
    "optimizer.prompt_lr": 0.01,
    "method.kind": "hlgp",
    "data.flip": True,
    "train.max_steps": None,
}


def open_recorder(run: Path, resume_from: ResumePoint | None = None) -> Recorder:
    return Recorder(run, config_text="seed: 0\n", hparams=HPARAMS, resume_from=resume_from)


def board(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(
        str(run / "tensorboard"), size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0)
    )
    accumulator.Reload()
    return accumulator


def series(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in board(run).Scalars(tag)]


def hparams(run: Path, tag: str) -> HParamsPluginData:
    return HParamsPluginData.FromString(board(run).summary_metadata[f"_hparams_/{tag}"].plugin_data.content)


def train(recorder: Recorder, steps: range, tasks: range = range(0)) -> None:
    for step in steps:
        recorder.scalars(step, {"train/loss": 1.0 / step, "train/lr": 0.5})
    for task in tasks:
        recorder.task_scalars(task, {"task/acc1_avg": 0.25 * task, f"eval/task_{task:02}/acc1": 0.5})


def test_the_same_scalars_stand_in_both_files(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        train(recorder, range(1, 4), range(2))
    assert series(tmp_path, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert series(tmp_path, "task/acc1_avg") == [(0, 0.0), (1, 0.25)]
    assert series(tmp_path, "eval/task_01/acc1") == [(1, 0.5)]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["axis"], line["step"]) for line in lines] == [
        ("step", 1),
        ("step", 2),
        ("step", 3),
        ("task", 0),
        ("task", 1),
    ]
    assert lines[1]["tags"] == {"train/loss": 0.5, "train/lr": 0.5}
    assert all(line["schema_version"] == 1 and line["wall_time"] > 0 for line in lines)


def test_values_that_are_not_finite_stay_json(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        recorder.scalars(1, {"train/loss": math.nan, "train/grad_norm": math.inf})
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    (event,) = read_events(tmp_path / "metrics.jsonl")
    assert math.isnan(event.tags["train/loss"])
    assert event.tags["train/grad_norm"] == math.inf


def test_the_configuration_is_a_text_and_the_matrix_an_image(tmp_path: Path) -> None:
    image = accuracy_matrix([[0.5, None], [0.25, 1.0]])
    with open_recorder(tmp_path) as recorder:
        recorder.figure("acc_matrix", 1, image)
    accumulator = board(tmp_path)
    (text,) = accumulator.Tensors("config")
    assert text.tensor_proto.string_val[0] == b"```yaml\nseed: 0\n\n```"
    (picture,) = accumulator.Images("acc_matrix")
    assert (picture.step, picture.height, picture.width) == (1, *image.shape[1:])


def test_hparams_stand_there_from_the_start_and_metrics_at_the_end(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    experiment = hparams(tmp_path, "experiment").experiment
    assert {info.name: info.type for info in experiment.hparam_infos} == {
        "optimizer.prompt_lr": api_pb2.DATA_TYPE_FLOAT64,
        "method.kind": api_pb2.DATA_TYPE_STRING,
        "data.flip": api_pb2.DATA_TYPE_BOOL,
        "train.max_steps": api_pb2.DATA_TYPE_FLOAT64,
    }
    assert [info.name.tag for info in experiment.metric_infos] == list(HPARAM_METRICS)
    start = hparams(tmp_path, "session_start_info").session_start_info
    assert start.group_name == "", "named by its folder, which no other run has"
    assert start.hparams["optimizer.prompt_lr"].number_value == 0.01
    assert start.hparams["data.flip"].bool_value is True
    assert "train.max_steps" not in start.hparams
    assert "_hparams_/session_end_info" not in board(tmp_path).summary_metadata

    recorder.finish(9, final_avg_acc=0.75, cum_avg_acc=0.5, forgetting=0.25)
    assert series(tmp_path, "hparam/final_avg_acc") == [(9, 0.75)]
    assert series(tmp_path, "hparam/cum_avg_acc") == [(9, 0.5)]
    assert hparams(tmp_path, "session_end_info").session_end_info.status == api_pb2.STATUS_SUCCESS
    assert [path.name.startswith("events.out.tfevents.") for path in (tmp_path / "tensorboard").rglob("*")] == [True]


@pytest.mark.parametrize(("error", "is_failure"), [(RuntimeError("no"), True), (Interrupted("signal"), False)])
def test_an_error_ends_the_session_and_an_interruption_does_not(
    tmp_path: Path, error: Exception, is_failure: bool
) -> None:
    with pytest.raises(type(error)), open_recorder(tmp_path) as recorder:
        train(recorder, range(1, 2))
        raise error
    assert ("_hparams_/session_end_info" in board(tmp_path).summary_metadata) is is_failure
    if is_failure:
        assert hparams(tmp_path, "session_end_info").session_end_info.status == api_pb2.STATUS_FAILURE


def test_the_columns_are_those_that_telemetry_names() -> None:
    columns = {"hparams": ["method.num_groups", "seed"], "varied": ["optimizer.betas"]}
    config = resolve({"data": {"path": "x"}, "method": {"kind": "linear"}, "telemetry": columns}).config
    expected = {"optimizer.betas": "[0.9, 0.999]", "method.num_groups": None, "seed": 0}
    assert hparams_of(config) == {"evaluated_on": "test", **expected}
    held_out = resolve({"data": {"path": "x"}, "benchmark": {"validation_fraction": 0.2}}).config
    assert hparams_of(held_out)["evaluated_on"] == "validation"


def test_what_varies_is_marked_as_differing(tmp_path: Path) -> None:
    with Recorder(tmp_path, config_text="", hparams=HPARAMS, varied=["method.kind"]):
        infos = hparams(tmp_path, "experiment").experiment.hparam_infos
    assert {info.name for info in infos if info.differs} == {"method.kind"}


def test_an_edited_journal_does_not_stop_a_resume(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        train(recorder, range(1, 4))
    journal = tmp_path / "metrics.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines, lines[0]]))
    with open_recorder(tmp_path, ResumePoint(3, 0)) as recorder:
        train(recorder, range(4, 6))
    assert [step for step, _ in series(tmp_path, "train/loss")] == [1, 2, 3, 4, 5]


def test_a_resume_repeats_no_step(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        train(recorder, range(1, 6), range(1))
        train(recorder, range(6, 9), range(1, 2))
        started = next(read_events(tmp_path / "metrics.jsonl")).wall_time
    with open_recorder(tmp_path, ResumePoint(step=5, tasks_done=1)) as recorder:
        assert [step for step, _ in series(tmp_path, "train/loss")] == [1, 2, 3, 4, 5]
        train(recorder, range(6, 11), range(1, 2))
        recorder.finish(10, final_avg_acc=0.5, cum_avg_acc=0.5, forgetting=0.1)
    assert [step for step, _ in series(tmp_path, "train/loss")] == list(range(1, 11))
    assert [step for step, _ in series(tmp_path, "task/acc1_avg")] == [0, 1]
    events = list(read_events(tmp_path / "metrics.jsonl"))
    assert [event.step for event in events if event.axis == "step"] == list(range(1, 11))
    assert events[0].wall_time == started == board(tmp_path).Scalars("train/loss")[0].wall_time
    assert len(board(tmp_path).Tensors("config")) == 1


def test_a_resume_keeps_the_pictures_of_finished_tasks(tmp_path: Path) -> None:
    images = [torch.full((3, 8, 8), 50 * task, dtype=torch.uint8) for task in range(4)]
    with open_recorder(tmp_path) as recorder:
        for task in range(3):
            recorder.figure("acc_matrix", task, images[task])
            recorder.figure("prompts/alike", task, images[task + 1])
    before = board(tmp_path).Images("acc_matrix")
    (events,) = (tmp_path / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-9])  # torn by a kill, in the last picture
    with open_recorder(tmp_path, ResumePoint(step=0, tasks_done=2)) as recorder:
        recorder.figure("acc_matrix", 2, images[3])
    after = board(tmp_path).Images("acc_matrix")
    assert [picture.step for picture in after] == [0, 1, 2]
    assert after[:2] == before[:2] and after[2].encoded_image_string != before[2].encoded_image_string
    assert [picture.step for picture in board(tmp_path).Images("prompts/alike")] == [0, 1]


def test_pages_are_declared_as_tensorboard_reads_them(tmp_path: Path) -> None:
    page = Page("How?", (Chart("loss", ("train/loss",)), Chart("rates", (r"train/lr_\w+", "lr"))))
    with Recorder(tmp_path, config_text="", hparams={}, pages=[page]):
        pass
    (event,) = board(tmp_path).Tensors("custom_scalars__config__")
    found = Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in found.category] == ["How?"]
    charts = {chart.title: list(chart.multiline.tag) for chart in found.category[0].chart}
    assert charts == {"loss": ["train/loss$"], "rates": [r"train/lr_\w+$", "lr$"]}


def test_the_metrics_of_the_end_are_written_once_after_a_resume(tmp_path: Path) -> None:
    for resume_from in (None, ResumePoint(step=3, tasks_done=2)):
        with open_recorder(tmp_path, resume_from) as recorder:
            train(
                recorder,
                range(1, 4) if resume_from is None else range(0),
                range(2) if resume_from is None else range(0),
            )
            recorder.finish(3, final_avg_acc=0.5, cum_avg_acc=0.5, forgetting=0.0)
    assert series(tmp_path, "hparam/forgetting") == [(3, 0.0)]


def test_a_run_anew_forgets_the_earlier_one(tmp_path: Path) -> None:
    for steps in (range(1, 9), range(1, 3)):
        with open_recorder(tmp_path) as recorder:
            train(recorder, steps)
    assert [step for step, _ in series(tmp_path, "train/loss")] == [1, 2]
    assert len(list(read_events(tmp_path / "metrics.jsonl"))) == 2


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        train(recorder, range(1, 4))
    journal = tmp_path / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert [event.step for event in read_events(journal)] == [1, 2]
    with open_recorder(tmp_path, ResumePoint(step=3, tasks_done=0)) as recorder:
        train(recorder, range(3, 5))
    assert [event.step for event in read_events(journal)] == [1, 2, 3, 4]
    assert [step for step, _ in series(tmp_path, "train/loss")] == [1, 2, 3, 4]


def test_events_of_another_schema_version_are_left_out(tmp_path: Path) -> None:
    journal = tmp_path / "metrics.jsonl"
    journal.write_text('{"schema_version": 99, "x": 1}\n[]\n{"schema_version": 1}\n')
    assert list(read_events(journal)) == []
    assert list(read_events(tmp_path / "none.jsonl")) == []


def test_a_step_that_goes_back_is_our_own_mistake(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as recorder:
        train(recorder, range(3, 4))
        with pytest.raises(AssertionError, match="train/loss goes from step 3 to 3"):
            recorder.scalars(3, {"train/loss": 1.0})


KILLED = """
    import sys, torch
    from pathlib import Path
    from hlgp_dist.telemetry.recorder import Recorder
    recorder = Recorder(Path(sys.argv[1]), config_text="", hparams={})
    for step in range(1, 10**9):
        recorder.scalars(step, {"train/loss": 1.0 / step, **{f"train/x{i}": 1.0 for i in range(50)}})
        if step == 200:
            print("there", flush=True)
"""


@pytest.fixture
def killed_run(tmp_path: Path) -> Iterator[Path]:
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    yield tmp_path


def test_after_a_kill_everything_up_to_the_checkpoint_is_there(killed_run: Path) -> None:
    with open_recorder(killed_run, ResumePoint(step=150, tasks_done=0)) as recorder:
        train(recorder, range(151, 161))
    assert [step for step, _ in series(killed_run, "train/loss")] == list(range(1, 161))
    assert [event.step for event in read_events(killed_run / "metrics.jsonl")] == list(range(1, 161))


def test_files_are_never_long_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FLUSH_SECONDS <= 30
    monkeypatch.setattr("hlgp_dist.telemetry.board.FLUSH_SECONDS", 0.1)
    recorder = open_recorder(tmp_path)
    recorder.scalars(1, {"train/loss": 1.0})
    assert len(list(read_events(tmp_path / "metrics.jsonl"))) == 1
    deadline = time.monotonic() + 20
    while "train/loss" not in board(tmp_path).Tags()["scalars"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorder.close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    recorder.finish(1, final_avg_acc=torch.tensor(0.5).item(), cum_avg_acc=0.5, forgetting=0.0)
    recorder.close(failed=True)
    status: Any = hparams(tmp_path, "session_end_info").session_end_info.status
    assert status == api_pb2.STATUS_SUCCESS
