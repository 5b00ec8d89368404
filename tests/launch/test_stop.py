"""How a command is asked to end: in the thread that calls Ray, in every phase, once and a second time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from ray import tune

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.errors import Interrupted
from hlgp_dist.launch import stop as stopping
from hlgp_dist.launch.cluster import _heeded_at_sigterm, ray_cluster
from hlgp_dist.launch.stop import STOP_SIGNALS, Attended, SharedStop, Stop, attended, signals_heeded
from hlgp_dist.launch.tuner import EndIfUnwanted
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job, written

WAIT_SECONDS = 240


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored() -> Iterator[None]:
    """Though these tests run under `nohup`."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


def test_one_wish_that_comes_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` signals its child and then the group that both are in."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stop = Stop()
    stop.heed(signal.SIGTERM)
    now[0] += 0.3
    stop.heed(signal.SIGTERM)
    assert stop.requested and not stop.at_once
    now[0] += 1.0
    with pytest.raises(SystemExit) as ending:
        stop.heed(signal.SIGTERM)
    assert stop.at_once and ending.value.code == 143


def test_a_search_and_its_drivers_share_a_stop(tmp_path: Path) -> None:
    own = Stop()
    search, driver = SharedStop(tmp_path, own), SharedStop(tmp_path)
    search.clear()
    search.pass_on()
    assert not driver.requested
    own.heed(signal.SIGTERM)
    assert search.requested and not driver.requested
    search.pass_on()
    assert driver.requested and not driver.at_once
    search.clear()
    assert search.requested and not driver.requested


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_heeded_inside_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals_heeded() as stop:
        os.kill(os.getpid(), number)
        began = time.monotonic()
        stop.nap(30.0)
        assert time.monotonic() - began < 10.0
        with pytest.raises(Interrupted, match="stopped by a signal here; the same command resumes"):
            stop.check("here")
    assert signal.getsignal(number) is before


def test_a_hang_up_that_is_to_be_ignored_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nohup` has it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_heeded() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, former)


def test_what_it_attends_returns_and_raises() -> None:
    calls: list[int] = []
    assert attended(lambda: 7, Stop(), meanwhile=lambda: calls.append(1)) == 7
    assert calls
    with pytest.raises(TimeoutError, match="its own"):
        attended(lambda: (_ for _ in ()).throw(TimeoutError("its own")), Stop())


def test_a_search_that_nobody_waits_for_is_over_before_ray_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its thread would ask a Ray that has gone, which ends the process before it leaves its outcome."""
    threads = set(threading.enumerate())
    tuner = tune.Tuner(
        lambda values: time.sleep(60),
        run_config=tune.RunConfig(storage_path=str(tmp_path), callbacks=[EndIfUnwanted()], verbose=0),
    )
    monkeypatch.setattr(stopping, "LEAVE_SECONDS", 0.5)
    with ray_cluster(LaunchOptions()), signals_heeded() as stop:
        threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted, match="no checkpoint within"):
            attended(tuner.fit, stop)
        assert not [thread for thread in set(threading.enumerate()) - threads if isinstance(thread, Attended)]


def heeds(command: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether the process has a handler of the signal."""
    (line,) = (line for line in Path(f"/proc/{command.pid}/status").read_text().splitlines() if "SigCgt" in line)
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def ended_by(
    number: signal.Signals, file: Path, ready: Callable[[subprocess.Popen[str]], object], verb: str = "train"
) -> str:
    """The last line of `hlgp VERB FILE`, whose process group gets the signal once it is ready; it ends resumably."""
    words = [sys.executable, "-c", "from hlgp_dist.cli import main; main()", verb, str(file)]
    command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        until = time.monotonic() + WAIT_SECONDS
        while not ready(command):
            assert command.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        os.killpg(command.pid, number)
        _, told = command.communicate(timeout=WAIT_SECONDS)
    finally:
        command.kill()
    assert command.returncode == 75, told
    return told.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_before_anything_runs(number: signal.Signals, drawn: Path, tmp_path: Path) -> None:
    """While it imports and checks; nothing of the run was there when it came."""
    folder = tmp_path / "run"
    file = written(job(drawn, folder), tmp_path / "job.yaml")
    last = ended_by(number, file, lambda command: heeds(command, number) and not folder.exists())
    assert last == (
        f"hlgp: exit code 75 (stopped by a signal before the run began; the same command resumes); results in {folder}"
    )


def test_a_signal_to_all_while_the_ranks_import(drawn: Path, tmp_path: Path) -> None:
    """A terminal's ^C: the ranks have no handlers yet, and must not die of it."""
    folder = RunFolder(tmp_path / "run")
    file = written(job(drawn, folder.path, "launch.num_workers=2", "train.epochs=1000"), tmp_path / "job.yaml")

    def import_(command: subprocess.Popen[str]) -> bool:
        below = psutil.Process(command.pid).children()
        try:
            return sum("spawn_main" in " ".join(child.cmdline()) for child in below) == 2
        except psutil.NoSuchProcess:  # not every child is a rank
            return False

    assert "exit code 75 (stopped by a signal" in ended_by(signal.SIGINT, file, import_)
    result = folder.read_result()
    assert result is not None and result["exit_code"] == 75


def test_a_signal_whose_exception_is_lost_is_heeded() -> None:
    """Ray's handler may be called inside of a callback, where Python drops what it raises."""
    before, stop = signal.getsignal(signal.SIGTERM), Stop()
    with _heeded_at_sigterm(stop):
        pass
    assert not stop.requested
    with _heeded_at_sigterm(stop):
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested and not stop.at_once
    assert signal.getsignal(signal.SIGTERM) is before and signal.set_wakeup_fd(-1) == -1


def test_a_signal_while_it_joins_ray(drawn: Path, tmp_path: Path) -> None:
    """Where Ray's own handler would end it with code 15."""
    folder = RunFolder(tmp_path / "run")
    file = written(job(drawn, folder.path, "launch.kind=ray"), tmp_path / "job.yaml")

    def joins(command: subprocess.Popen[str]) -> bool:
        below = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        return folder.config.exists() and bool(below.read_text())  # Ray's first process

    assert "(stopped by a signal while it joined Ray; the same command resumes)" in ended_by(
        signal.SIGTERM, file, joins
    )
    result = folder.read_result()
    assert result is not None and result["exit_code"] == 75


def test_a_signal_to_the_whole_group_of_a_search(drawn: Path, tmp_path: Path) -> None:
    """`timeout`'s: the Ray that the command started lives on until the trials have saved."""
    folder = RunFolder(tmp_path / "search")
    file = written(job(drawn, folder.path, "launch.kind=ray", "train.epochs=1000"), tmp_path / "job.yaml")
    search = {"space": {"optimizer.prompt_lr": {"choice": [0.01]}}, "num_samples": 1}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": search}))

    def trains(command: subprocess.Popen[str]) -> bool:
        return any(folder.path.glob("trials/*/metrics.jsonl"))

    assert "exit code 75 (" in ended_by(signal.SIGTERM, file, trains, "tune")
    result = folder.read_result()
    assert result is not None and result["exit_code"] == 75
    assert list(folder.path.glob("trials/*/checkpoints/*")), "what its ranks saved"


def test_a_ray_of_its_own_ends_with_a_command_that_is_killed() -> None:
    script = """
        import ray, time
        from hlgp_dist.config.launch_options import LaunchOptions
        from hlgp_dist.launch.cluster import _heeded_at_sigterm, ray_cluster
        with ray_cluster(LaunchOptions()):
            ray.get(ray.remote(lambda: None).remote())
            print("up", flush=True)
            time.sleep(600)
    """
    command = subprocess.Popen([sys.executable, "-c", dedent(script)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None and command.stdout.readline() == "up\n"
    below = psutil.Process(command.pid).children()  # what is below them takes Ray up to a minute
    assert {"gcs_server", "raylet"} <= {each.name() for each in below}
    assert all(os.getpgid(each.pid) != os.getpgid(command.pid) for each in below)
    command.kill()
    command.wait()
    _, left = psutil.wait_procs(below, timeout=30)
    assert not left
