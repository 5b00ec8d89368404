"""Runs and searches whose results are kept on an object store: a real server of S3's protocol on loopback."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, partialmethod
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hlgp_dist.config.load import resolve
from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.mirror import Mirror
from hlgp_dist.errors import ConfigError, EnvironmentFailure, Interrupted, Unreachable
from hlgp_dist.launch.copy_folders import COPIES
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.ray_run import _is_ranks
from hlgp_dist.launch.search import FETCHED
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.launch.storage import Storage, View, event_files
from hlgp_dist.train.folder import RunFolder
from tests.buckets import fetched
from tests.jobs import job, step_values, written
from tests.objects import BUCKET, ENVIRONMENT, s3_server
from tests.results import unmeasured

pytestmark = pytest.mark.timeout(900)
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]
OPTIONS = ("train.epochs=20", "benchmark.max_tasks=4", "checkpoint.every_steps=8", "launch.num_workers=2")
WAIT_SECONDS = 200


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def bucket(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Bucket:
    """Of this test; copies of it lie in a folder of its own."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # whose paths must be short
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    return Bucket(f"s3://{BUCKET}/{re.sub('[^a-z]+', '-', request.node.name)}")


def at(bucket: Bucket, name: str) -> tuple[str, ...]:
    return (f"run.dir={bucket.url}", f"run.name={name}")


def wait_for(condition: Callable[[], object], command: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert command.poll() is None, f"it ended by itself: {command.communicate()}"
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def start(verb: str, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*HLGP, verb, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def is_held(folder: Path) -> bool:
    """Whether the process whose copy it is lives."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def copies(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").glob(f"{COPIES}*"))


def test_a_run(bucket: Bucket, drawn: Path, tmp_path: Path) -> None:
    short = ("train.epochs=2", "benchmark.max_tasks=2")
    quiet, _ = start_run(job(drawn, tmp_path / "quiet", *short), "job")
    config = job(drawn, tmp_path / "job", *short, *at(bucket, "job"))
    shown, result = start_run(config, "job")
    assert str(shown) == f"{bucket.url}/job"
    assert copies(tmp_path) == []
    folder = fetched(bucket, "job", tmp_path)
    assert folder.read_finished() == result
    assert unmeasured(folder) == unmeasured(quiet)
    assert step_values(folder) == step_values(quiet)
    assert {path.name for path in folder.path.iterdir()} == {path.name for path in quiet.path.iterdir()} - {".lock"}
    assert start_run(config, "job")[1] == result, "a finished one is shown again"


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["ray", "local"])
def test_a_run_that_is_killed_and_goes_on(kind: str, bucket: Bucket, drawn: Path, tmp_path: Path) -> None:
    quiet, _ = start_run(job(drawn, tmp_path / "quiet", *OPTIONS), "job")
    options = (*OPTIONS, f"launch.kind={kind}", *at(bucket, "job"))
    file = written(job(drawn, tmp_path / "job", *options), tmp_path / "job.yaml")
    command = start("train", file)
    wait_for(lambda: any(re.search("task-0[012]-step-.*state.json", name) for name in bucket.listed()), command)
    command.kill()
    command.wait()
    assert copies(tmp_path), "as a kill leaves it"
    wait_until(lambda: not any(map(is_held, copies(tmp_path))))  # ranks end a moment later
    for copy in copies(tmp_path):
        os.utime(copy, (1, 1))
    again = start("train", file)
    output, _ = again.communicate(timeout=WAIT_SECONDS)
    assert again.returncode == 0, output
    assert f"run folder: {bucket.url}/job" in output
    assert copies(tmp_path) == []
    folder = fetched(bucket, "job", tmp_path)
    assert [one["attempt"] for one in folder.read_attempts()] == [2]
    assert unmeasured(folder) == unmeasured(quiet)
    assert step_values(folder) == step_values(quiet)
    assert {path.name for path in folder.path.iterdir()} == {path.name for path in quiet.path.iterdir()} - {".lock"}
    assert sum("tfevents" in name for name in bucket.listed()) == 1, "the former event file has made way"
    checkpoints = {name.split("/")[2] for name in bucket.listed("job/checkpoints")}
    assert checkpoints == {path.name for path in quiet.checkpoints.iterdir()}
    assert resolve(folder.config).config.run.dir == bucket.url
    assert start("train", file).communicate(timeout=WAIT_SECONDS)[0].count("was finished before") == 1


def test_a_store_that_refuses(bucket: Bucket, drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"run\.dir: s3://nobody/.*there is no such bucket"):
        start_run(job(drawn, tmp_path / "job", *OPTIONS, "run.dir=s3://nobody/runs"), "job")
    assert copies(tmp_path) == []


def test_what_cannot_be_sent_stays_here(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hlgp_dist.launch.copies.LAST_SECONDS", 0.0)
    with ExitStack() as stack, pytest.raises(EnvironmentFailure, match=r"what was not sent lies in .*hlgp-unsent-"):
        port = stack.enter_context(s3_server())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with opened(bucket.url) as storage:
            (storage.path / "result.json").write_text("{}")
            stack.close()
    (kept,) = (tmp_path / "tmp").glob("hlgp-unsent-*/result.json")
    assert kept.read_text() == "{}"


def test_who_was_replaced_sends_nothing_any_more(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its results nor the stop that it is told by."""
    monkeypatch.setattr("hlgp_dist.data.lease.BEAT_SECONDS", 0.2)
    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with suppress(Interrupted), opened(bucket.url) as storage, storage.alone():
            bucket.replace(".lock", b'{"lease": "of another one"}')
            deadline = time.monotonic() + 30
            while not heard:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            (storage.path / "result.json").write_text("{}")
            with pytest.raises(Interrupted, match="another process has taken this one's place"):
                storage.publish()
            raise Interrupted("as a run ends by SIGTERM")
    finally:
        signal.signal(signal.SIGTERM, former)
    assert set(bucket.listed()) == {".lock"}
    assert list((tmp_path / "tmp").glob("hlgp-unsent-*/result.json"))


def test_the_lock_outlasts_what_it_guards(bucket: Bucket) -> None:
    """Who comes next finds the results."""
    with opened(bucket.url) as storage:
        with storage.alone():
            (storage.path / "result.json").write_text("{}")
        assert set(bucket.listed()) == {"result.json"}


def test_silence_counts_unless_the_store_is_away(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking takes its time, in which ranks are heard as before; or no hang would ever be found on a slow store."""
    monkeypatch.setattr("hlgp_dist.launch.copies.INTERVAL_SECONDS", 0.05)
    moods, looks = ["there"], [0]

    def refresh(self: Mirror) -> bool:
        time.sleep(0.2)
        looks[0] += 1
        if moods[-1] == "away":
            raise Unreachable("away")
        return True

    with opened(bucket.url) as storage:
        monkeypatch.setattr(Mirror, "refresh", refresh)
        while looks[0] < 2:
            assert storage.is_current
            time.sleep(0.01)
        moods.append("away")
        wait_until(lambda: not storage.is_current)
        moods.append("there")
        wait_until(lambda: storage.is_current)


def test_a_store_that_is_away_for_a_while(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided upon is waited for."""
    monkeypatch.setattr("hlgp_dist.data.patience.AGAIN_SECONDS", 0.1)
    with opened(bucket.url) as storage:
        whole, failures = Bucket.listed, iter(range(3))

        def away(self: Bucket, part: str = "") -> Any:
            if next(failures, None) is not None:
                raise Unreachable("away")
            return whole(self, part)

        monkeypatch.setattr(Bucket, "listed", away)
        bucket.replace("result.json", b"{}")
        storage.refresh()
        assert (storage.path / "result.json").read_text() == "{}"


class Killed(Exception):
    """As by a kill: nothing is done after it."""


LEFT = {
    "config.yaml": "",
    "result.json": "{}",
    "trials.csv": "",
    "logs/a.log": "",
    "tensorboard/events": "",
    "checkpoints/task-01-step-000000/state.json": "{}",
    "checkpoints/task-01-step-000000/state.safetensors": "",
}


def killed_at(moment: int, call: Callable[..., Any]) -> Callable[..., Any]:
    calls = itertools.count()

    def called(*arguments: Any, **options: Any) -> Any:
        if next(calls) >= moment:
            raise Killed
        return call(*arguments, **options)

    return called


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def check_left(folder: RunFolder, moment: int) -> None:
    """It says whose it is, or holds nothing that anybody would go on with; and no result of what is not whole."""
    assert folder.config.is_file() or not folder.has_work()
    assert moment == 0 or not folder.result.exists()


@pytest.mark.parametrize("moment", range(6))
def test_the_clearing_of_a_folder_that_is_killed(moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, LEFT)
    storage = Storage(str(tmp_path), tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at_once = killed_at(moment, lambda call, *arguments: call(*arguments))
        patch.setattr(Path, "unlink", partialmethod(lambda self, call: at_once(call, self), Path.unlink))
        patch.setattr(shutil, "rmtree", partial(at_once, shutil.rmtree))
        storage.clear()
    check_left(storage.run(), moment)
    storage.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", range(7))
def test_the_clearing_of_a_bucket_that_is_killed(
    moment: int, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hlgp_dist.launch.copies.INTERVAL_SECONDS", 100.0)
    monkeypatch.setattr("hlgp_dist.launch.copies.LONGEST_SECONDS", 100.0)
    with opened(bucket.url) as storage:
        write(storage.path, LEFT)
    with opened(bucket.url) as storage:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Bucket, "remove", killed_at(moment, Bucket.remove))
            storage.clear()
        check_left(fetched(bucket, "", tmp_path / "left"), moment)
        storage.clear()
        assert bucket.listed() == {}


def test_a_rank_fetches_the_tensors_that_it_asks_for(bucket: Bucket) -> None:
    """And who drops a checkpoint takes its tensors along, fetched or not."""
    older, newer = (f"checkpoints/task-0{task}-step-000000" for task in (1, 2))
    with opened(bucket.url) as storage:
        write(storage.path, {f"{at}/state.{kind}": at for at in (older, newer) for kind in ("json", "safetensors")})
    with opened(bucket.url, View(partial(_is_ranks, 0), is_followed=False)) as storage:
        assert {str(path.relative_to(storage.path)) for path in storage.path.rglob("state.*")} == {
            f"{older}/state.json",
            f"{newer}/state.json",
        }
        storage.obtain(storage.path / newer)
        assert (storage.path / newer / "state.safetensors").read_text() == newer
        assert not (storage.path / older / "state.safetensors").exists()
        shutil.rmtree(storage.path / older)
    assert set(bucket.listed()) == {f"{newer}/state.json", f"{newer}/state.safetensors"}


def test_curves_are_the_first_ranks() -> None:
    """A thousand ranks would fetch a thousand copies at each start."""
    names = ("config.yaml", "metrics.jsonl", "tensorboard/events.1", "logs/rank-000.log", "checkpoints/a/state.json")
    first, other = ([name for name in names if _is_ranks(rank, name)] for rank in (0, 1))
    assert first == list(names) and other == ["config.yaml", "checkpoints/a/state.json"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.dir=http://host/runs", r"run\.dir.*or s3://BUCKET"),
        ("run.dir=s3://", r"run\.dir.*names no bucket"),
        ("run.dir=s3://key:secret@bucket/x", r"run\.dir.*must not hold a user or a password"),
        ("launch.hang_seconds=10", r"launch\.hang_seconds.*must be at least 120 where run\.dir is a URL"),
    ],
)
def test_what_is_refused(override: str, message: str, drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        job(drawn, tmp_path / "job", *OPTIONS, "run.dir=s3://bucket/runs", override)
    assert "secret" not in str(error.value)


def events(bucket: Bucket) -> str:
    return bucket.read("search/trials.jsonl").decode() if bucket.listed("search/trials.jsonl") else ""


def test_an_earlier_stop_is_cleared_for_all(bucket: Bucket) -> None:
    """The drivers of the trials read it in the bucket."""
    bucket.replace("logs/stop-requested", b"")
    with opened(bucket.url, FETCHED) as storage:
        stop = SharedStop(storage.path / "logs")
        assert stop.requested
        stop.clear()
        storage.publish()
        assert bucket.listed() == {}


SPACE = "{space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}"
SEARCH = f"search={SPACE}, num_samples: 3, max_concurrent_trials: 1, scheduler: {{kind: fifo}}}}"
SHORT = ("train.epochs=4", "benchmark.max_tasks=2", "launch.num_workers=2")


@pytest.mark.soak
def test_a_search_that_is_killed_and_goes_on(bucket: Bucket, drawn: Path, tmp_path: Path) -> None:
    """Trials are those of a search in a folder, what finished is not run again, and stopping reaches the ranks."""
    file = written(job(drawn, tmp_path / "search", *SHORT, SEARCH, *at(bucket, "search")), tmp_path / "search.yaml")
    command = start("tune", file)
    wait_for(lambda: '"ended"' in events(bucket), command)
    command.kill()
    command.wait()
    stopped = start("tune", file)
    wait_for(lambda: "search/trials/trial-00001/accuracy_matrix.csv" in bucket.listed("search/trials"), stopped)
    stopped.send_signal(signal.SIGTERM)
    output, _ = stopped.communicate(timeout=WAIT_SECONDS)
    assert stopped.returncode == 75, output
    last = start("tune", file)
    output, _ = last.communicate(timeout=WAIT_SECONDS)
    assert last.returncode == 0, output
    assert f"run folder: {bucket.url}/search/best" in output
    folder = fetched(bucket, "search", tmp_path)
    result = folder.read_finished()
    assert result is not None
    assert [trial["status"] for trial in result["trials"]] == ["done"] * 3
    started = re.findall(r'"event": "started", .*"trial": "(\S+)"', (folder.path / "trials.jsonl").read_text())
    assert started.count("trial-00000") == 1
    for trial in result["trials"]:
        below = folder.below("trials", trial["trial"])
        assert below.read_finished() is not None
        assert list((below.path / "tensorboard").iterdir())
        value = f"optimizer.prompt_lr={trial['optimizer.prompt_lr']!r}"
        alone = job(drawn, tmp_path / trial["trial"], *SHORT, value, "benchmark.validation_fraction=0.2")
        assert unmeasured(below)["accuracy_matrix"] == start_run(alone, "job")[1]["accuracy_matrix"]
    assert result["test"]["exit_code"] == 0


LIVE_SECONDS = 30


@pytest.mark.soak
def test_the_curves_of_a_running_search(bucket: Bucket, drawn: Path, tmp_path: Path) -> None:
    """Each trial's scalars are readable elsewhere soon after they were written, and `hlgp tensorboard` serves them."""
    options = (*OPTIONS, SEARCH, *at(bucket, "search"))
    command = start("tune", written(job(drawn, tmp_path / "search", *options), tmp_path / "search.yaml"))
    lags: dict[str, float] = {}
    lengths: set[int] = set()
    with opened(bucket.url, View(event_files)) as storage, served(bucket.url) as address:
        while command.poll() is None:
            for trial in sorted((storage.path / "search" / "trials").glob("*")):
                latest = max((event.wall_time for event in losses(trial)), default=None)
                is_over = "result.json" in {Path(name).name for name in bucket.listed(f"search/trials/{trial.name}")}
                if latest is not None and not is_over:
                    lags[trial.name] = max(lags.get(trial.name, 0.0), time.time() - latest)
            lengths.add(served_losses(address, "search/trials/trial-00000/tensorboard"))
            time.sleep(1)
        output, _ = command.communicate()
        assert command.returncode == 0, output
        assert set(lags) == {"trial-00000", "trial-00001", "trial-00002"}
        assert max(lags.values()) < LIVE_SECONDS, lags
        assert len(lengths - {0}) > 1, "a series gets longer while it is looked at"
        deadline = time.monotonic() + LIVE_SECONDS
        while "search/best/tensorboard" not in runs_at(address):
            assert time.monotonic() < deadline, runs_at(address)
            time.sleep(1)


def losses(trial: Path) -> list[Any]:
    events = EventAccumulator(str(trial / "tensorboard"))
    events.Reload()
    return events.Scalars("train/loss") if "train/loss" in events.Tags()["scalars"] else []


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of a TensorBoard."""
    board = subprocess.Popen([*HLGP, "tensorboard", url, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert board.stdout is not None
    try:
        found = re.search(r"http://\S+", board.stdout.readline())
        assert found is not None
        yield found[0].rstrip("/;")
    finally:
        board.send_signal(signal.SIGINT)
        assert board.wait(timeout=60) == 0


def served_losses(address: str, run: str) -> int:
    """How many there are."""
    try:
        return len(
            json.loads(page(f"{address}/data/plugin/scalars/scalars?run={quote(run, safe='')}&tag=train%2Floss"))
        )
    except urllib.error.HTTPError:  # not yet
        return 0


def runs_at(address: str) -> str:
    return page(f"{address}/data/runs")


def page(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        return str(answer.read().decode())
