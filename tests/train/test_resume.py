"""A run that was killed, stopped and killed again ends as the one that was left in peace."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure, LostWorker
from hlgp_dist.launch.search import run_search
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.storage import Storage
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train.checkpoint import load_checkpoint
from hlgp_dist.train.folder import RunFolder
from tests.jobs import as_it_was, job, step_values, written
from tests.ranks import Ranks
from tests.results import MEASURED, unmeasured

STEPS_PER_TASK = 12
WAIT_SECONDS = 120
OPTIONS = ("train.epochs=6", "checkpoint.every_steps=2", "launch.num_workers=2")

HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]


class Stage(NamedTuple):
    """How one command ended: its exit code, what it said, the position it left, the processes it left."""

    exit_code: int
    message: str
    position: tuple[int, int]
    result: dict[str, Any]
    left_over: list[int]


def position(folder: RunFolder) -> tuple[int, int]:
    checkpoint = load_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    return checkpoint.position.task, checkpoint.position.step


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


def inside_task(folder: RunFolder, task: int) -> Callable[[], bool]:
    """Whether a checkpoint has been written inside the task."""
    return lambda: any(folder.checkpoints.glob(f"task-{task:02d}-step-00000[2-9]"))


@pytest.fixture(scope="module")
def left_in_peace(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    """Five tasks on two ranks, all checkpoints kept."""
    path = tmp_path_factory.mktemp("peace") / "run"
    folder, codes = ranks.run(job(drawn, path, *OPTIONS, "checkpoint.keep=99"))
    assert codes == [0, 0]
    return folder


def kill_a_worker(folder: RunFolder, config_file: Path) -> Stage:
    """In task 3 of 5, of a launcher in this process."""
    from hlgp_dist.config.load import resolve

    def kill() -> None:
        wait_for(inside_task(folder, 2))
        workers = [process for process in multiprocessing.active_children() if not process.daemon]
        os.kill(workers[-1].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LostWorker) as failure:
        start_run(resolve(config_file).config, "job")
    killer.join()
    alive = [process.pid or 0 for process in multiprocessing.active_children() if not process.daemon]
    result = json.loads(folder.result.read_text())
    return Stage(failure.value.exit_code, str(failure.value), position(folder), result, alive)


def send(number: int, folder: RunFolder, config_file: Path, task: int) -> Stage:
    """A signal to a launcher of its own process, inside a task. SIGTERM goes to the ranks, too, as a job system's does:
    by way of their launcher they hear of it within a second or two, and a task is over sooner."""
    words = [*HLGP, "train", str(config_file)]
    launcher = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, process_group=0)
    wait_for(inside_task(folder, task))
    workers = children(launcher.pid)
    (os.killpg if number == signal.SIGTERM else os.kill)(launcher.pid, number)
    _, message = launcher.communicate(timeout=WAIT_SECONDS)
    deadline = time.monotonic() + 5
    while (left_over := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    result = folder.read_result() or {}
    return Stage(launcher.returncode, message, position(folder), result, left_over)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def ordeal(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[Stage]]:
    """The same command four times: a worker killed in task 3, the launcher in task 4, SIGTERM in task 5, the end."""
    root = tmp_path_factory.mktemp("ordeal")
    folder = RunFolder(root / "run")
    config_file = written(job(drawn, folder.path, *OPTIONS, "launch.max_retries=0"), root / "job.yaml")
    stages = [
        kill_a_worker(folder, config_file),
        send(signal.SIGKILL, folder, config_file, 3),
        send(signal.SIGTERM, folder, config_file, 4),
    ]
    last = subprocess.run(
        [*HLGP, "train", str(config_file), "checkpoint.keep=5"], capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    stages.append(Stage(last.returncode, last.stderr, position(folder), unmeasured(folder), []))
    return folder, stages


def test_a_killed_worker_ends_the_others_and_can_be_resumed(ordeal: tuple[RunFolder, list[Stage]]) -> None:
    stage = ordeal[1][0]
    assert stage.exit_code == 75
    assert re.fullmatch(r"rank [01] was killed by SIGKILL; the same command resumes .*", stage.message)
    assert stage.result == {"exit_code": 75, "reason": stage.message}
    assert stage.position[0] == 2 and 0 < stage.position[1] < STEPS_PER_TASK
    assert stage.left_over == []


def test_ranks_do_not_outlive_a_killed_launcher(ordeal: tuple[RunFolder, list[Stage]]) -> None:
    stage = ordeal[1][1]
    assert stage.exit_code == -signal.SIGKILL
    assert stage.result == {}, "nobody was left to write one, and the last attempt's is gone"
    assert stage.position[0] == 3 and 0 < stage.position[1] < STEPS_PER_TASK
    assert stage.left_over == []


def test_a_signal_saves_and_leaves(ordeal: tuple[RunFolder, list[Stage]]) -> None:
    stage = ordeal[1][2]
    assert stage.exit_code == 75
    assert "stopped by a signal in task 4" in stage.message and "run it again to resume" in stage.message
    assert "Traceback" not in stage.message
    assert stage.result["exit_code"] == 75
    assert stage.position[0] == 4
    assert stage.left_over == []


def test_the_end_is_that_of_the_run_left_in_peace(
    ordeal: tuple[RunFolder, list[Stage]], left_in_peace: RunFolder
) -> None:
    folder, stages = ordeal
    assert stages[-1].exit_code == 0
    assert unmeasured(folder) == unmeasured(left_in_peace)
    assert folder.matrix.read_bytes() == left_in_peace.matrix.read_bytes()
    for tag in ("train/loss", "train/grad_norm", "train/acc1", "train/lr_prompt"):
        assert step_values(folder, tag) == step_values(left_in_peace, tag)


def test_the_record_holds_every_step_once(ordeal: tuple[RunFolder, list[Stage]]) -> None:
    folder = ordeal[0]
    total = 5 * STEPS_PER_TASK
    assert list(step_values(folder)) == list(range(1, total + 1))
    board = EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    journal = list(read_events(folder.path / "metrics.jsonl"))
    for tag in board.Tags()["scalars"]:
        steps = [event.step for event in board.Scalars(tag)]
        assert steps == [event.step for event in journal if tag in event.tags]
        assert all(before < after for before, after in itertools.pairwise(steps))
    drawn = {tag: [event.step for event in board.Images(tag)] for tag in board.Tags()["images"]}
    names = ("acc_matrix", "task_confusion", "prompts/similarity_of_blocks", "prompts/similarity_of_tasks")
    assert drawn == {name: [0, 1, 2, 3, 4] for name in names}


def test_a_finished_run_returns_at_once(ordeal: tuple[RunFolder, list[Stage]], drawn: Path) -> None:
    folder, stages = ordeal
    written_at = folder.result.stat().st_mtime_ns
    began = time.monotonic()
    again, result = start_run(job(drawn, folder.path, *OPTIONS), "job")
    assert time.monotonic() - began < 5, "it started processes"
    assert again.path == folder.path
    assert {key: value for key, value in result.items() if key not in MEASURED} == stages[-1].result
    assert folder.result.stat().st_mtime_ns == written_at


@pytest.mark.parametrize("key", ["data.path", "backbone.weights"])
def test_other_pictures_or_weights_at_the_same_path_are_refused(
    key: str, left_in_peace: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", "task-04-step-000000")
    record = folder.checkpoints / "task-04-step-000000" / "state.json"
    state = json.loads(record.read_text())
    assert state["content"][key] in json.dumps(unmeasured(left_in_peace))
    state["content"][key] = "0" * 64
    record.write_text(json.dumps(state))
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS))
    assert codes == [3, 3]
    assert (
        f"{key}: {folder.path} was begun with content 000"
        in (folder.logs / "attempts/000/rank-000.failure.json").read_text()
    )


def test_two_processes_never_share_a_folder(left_in_peace: RunFolder, drawn: Path, tmp_path: Path) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", "task-01-step-000000")
    with (
        Storage(str(folder), folder.path).alone(),
        pytest.raises(EnvironmentFailure, match="another process is at work") as failure,
    ):
        start_run(job(drawn, folder.path, *OPTIONS), "job")
    assert failure.value.exit_code == 4
    assert not folder.result.exists(), "the result is the other's to write"


def test_another_configuration_is_refused_with_the_difference(
    ordeal: tuple[RunFolder, list[Stage]], drawn: Path
) -> None:
    folder = ordeal[0]
    before = folder.config.read_bytes()
    changed = job(drawn, folder.path, *OPTIONS, "optimizer.prompt_lr=0.5", "method.num_groups=2")
    with pytest.raises(ConfigError) as failure:
        start_run(changed, "job")
    assert failure.value.exit_code == 2
    assert "optimizer.prompt_lr: 0.01 -> 0.5" in str(failure.value)
    assert "method.num_groups: 3 -> 2" in str(failure.value)
    assert folder.config.read_bytes() == before


def test_an_operational_change_is_accepted_and_recorded(ordeal: tuple[RunFolder, list[Stage]], drawn: Path) -> None:
    folder = ordeal[0]
    assert "keep: 5" in folder.config.read_text()
    assert "checkpoint.keep: 2 -> 5" in (folder.logs / "changes.log").read_text()


def test_what_is_said_of_a_finished_run_stays(ordeal: tuple[RunFolder, list[Stage]], drawn: Path) -> None:
    folder = ordeal[0]
    files = [folder.config, folder.environment, folder.logs / "changes.log"]
    before = [file.read_bytes() for file in files]
    start_run(job(drawn, folder.path, *OPTIONS, "checkpoint.keep=7"), "job")
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"exit_code"', b'{"exit_code": 0}'])
def test_a_damaged_result_is_written_again(
    damage: bytes, left_in_peace: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", "task-05-step-000000")
    folder.result.write_bytes(damage)
    folder.environment.write_text("elsewhere")
    assert folder.read_finished() is None
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS))
    assert codes == [0, 0]
    assert unmeasured(folder) == unmeasured(left_in_peace)
    assert (folder.logs / "env-000.json").read_text() == "elsewhere"


def test_a_damaged_checkpoint_is_passed_over(
    left_in_peace: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", "task-04-step-000004")
    tensors = folder.checkpoints / "task-04-step-000004" / "state.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS))
    assert codes == [0, 0]
    assert unmeasured(folder) == unmeasured(left_in_peace)
    assert "passing over a damaged checkpoint" in (folder.logs / "rank-000.log").read_text()


def test_a_run_says_what_it_keeps_and_where_it_ran(left_in_peace: RunFolder) -> None:
    prompts = 5 * (
        3 * 2 * 2 * 32 + 6 * 32
    )  # tasks x (groups x keys and values x length x width, and a position a block)
    statistics = 10 * 2 * 32  # means and variances of ten classes
    assert unmeasured(left_in_peace)["num_stored_parameters"] == prompts + statistics
    assert json.loads(left_in_peace.environment.read_text())["devices"] == ["cpu", "cpu"]


def copy_of(folder: RunFolder, path: Path) -> RunFolder:
    shutil.copytree(folder.path, path)
    return RunFolder(path)


def test_a_finished_run_of_other_pictures_is_not_shown_as_this_one(
    left_in_peace: RunFolder, drawn: Path, tmp_path: Path
) -> None:
    folder = copy_of(left_in_peace, tmp_path / "run")
    result = json.loads(folder.result.read_text())
    folder.result.write_text(json.dumps(result | {"dataset": "0" * 64}))
    with pytest.raises(DataError, match=r"data\.path: .* is of content 0{64}, now it is"):
        start_run(job(drawn, folder.path, *OPTIONS), "job")


def test_results_without_a_configuration_are_not_taken_for_this_one(
    left_in_peace: RunFolder, drawn: Path, tmp_path: Path
) -> None:
    folder = copy_of(left_in_peace, tmp_path / "run")
    folder.config.unlink()
    with pytest.raises(ConfigError, match=r"holds results but no config\.yaml that says whose"):
        start_run(job(drawn, folder.path, *OPTIONS), "job")


def test_a_run_does_not_go_into_a_searchs_folder(left_in_peace: RunFolder, drawn: Path, tmp_path: Path) -> None:
    folder = copy_of(left_in_peace, tmp_path / "run")
    search = "search={space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}}"
    with pytest.raises(ConfigError, match=r"run\.name: .* holds a run; take another"):
        run_search(job(drawn, folder.path, *OPTIONS, search), "job", lambda folder, rows: None)
    folder.config.write_text(dump(job(drawn, folder.path, *OPTIONS, search)))
    with pytest.raises(ConfigError, match=r"run\.name: .* holds a search; take another"):
        start_run(job(drawn, folder.path, *OPTIONS), "job")


def test_a_damaged_configuration_is_named(left_in_peace: RunFolder, drawn: Path, tmp_path: Path) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", "task-01-step-000000")
    folder.config.write_text("")
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged; take another run\.name"):
        start_run(job(drawn, folder.path, *OPTIONS), "job")


@pytest.mark.parametrize(
    "at",
    ["task-00-step-000002", "task-01-step-000000", "task-03-step-000012", "task-04-step-000002", "task-04-step-000004"],
)
def test_every_checkpoint_leads_to_the_same_end(
    at: str, left_in_peace: RunFolder, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    folder = as_it_was(left_in_peace, tmp_path / "run", at)
    _, codes = ranks.run(job(drawn, folder.path, *OPTIONS))
    assert codes == [0, 0]
    assert unmeasured(folder) == unmeasured(left_in_peace)
    assert step_values(folder) == step_values(left_in_peace)
    for tag in ("task/acc1_avg", "task/task_id_acc", "eval/task_00/acc1"):
        assert step_values(folder, tag) == step_values(left_in_peace, tag)
    assert folder.matrix.read_bytes() == left_in_peace.matrix.read_bytes()
