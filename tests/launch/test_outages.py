"""Results on a store that is away for a while: it refuses, or lets nothing through, behind a real server."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hlgp_dist.data import lease
from hlgp_dist.data.bucket import Bucket
from hlgp_dist.errors import Interrupted, Unreachable
from hlgp_dist.launch.channel import Beat, Channel, request_of
from hlgp_dist.launch.copies import DELAY_SECONDS
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import View, without_tensors
from tests.buckets import fetched
from tests.jobs import job, step_values
from tests.objects import BUCKET, ENVIRONMENT, s3_server
from tests.outages import Mood, Way, way_to
from tests.results import unmeasured

pytestmark = pytest.mark.timeout(900)
MOODS: list[Mood] = ["refuse", "stall"]
RANK = View(messages=(request_of(1),), is_followed=False, leave=request_of(1), away_seconds=60.0)
LAUNCHER = View(without_tensors, messages=("logs",))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def way(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Way]:
    """What this process asks of S3 goes there."""
    with way_to(port) as way:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
        monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
        monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # whose paths must be short
        monkeypatch.setattr(tempfile, "tempdir", None)
        (tmp_path / "tmp").mkdir()
        yield way


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').rstrip(']')}"


def wait_until(condition: Callable[[], object], seconds: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it does not happen"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize(("mood", "seconds"), [("refuse", 3.0), pytest.param("stall", 12.0, marks=pytest.mark.soak)])
def test_both_sides_hear_each_other_soon_after_an_outage(mood: Mood, seconds: float, way: Way, url: str) -> None:
    with opened(url, LAUNCHER) as here, opened(url, RANK) as there:
        ours, theirs = Channel(here.path / "logs", 1), Channel(there.path / "logs", 1)
        ours.open()
        wait_until(lambda: (there.path / request_of(1)).is_file(), DELAY_SECONDS)
        outage = way.break_for(mood, seconds)
        ours.ask("stop")
        theirs.folder.mkdir(parents=True, exist_ok=True)
        theirs.tell(0, Beat(7))
        outage.join()
        wait_until(lambda: theirs.asked() == "stop" and ours.told(1) == [Beat(7)], DELAY_SECONDS)
        wait_until(lambda: here.is_current, 1.0)


def test_messages_do_not_wait_for_a_long_file(way: Way, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank hears a stop, and is heard, while its checkpoint is on its way."""
    monkeypatch.setattr("hlgp_dist.launch.copies.INTERVAL_SECONDS", 0.1)
    write, is_under_way, is_over = Bucket.write, threading.Event(), threading.Event()

    def slow(self: Bucket, name: str, file: Path) -> None:
        if name.startswith("checkpoints/"):
            is_under_way.set()
            is_over.wait()
        write(self, name, file)

    monkeypatch.setattr(Bucket, "write", slow)
    with opened(url, LAUNCHER) as here, opened(url, RANK) as there:
        ours, theirs = Channel(here.path / "logs", 1), Channel(there.path / "logs", 1)
        ours.open()
        (there.path / "checkpoints").mkdir()
        (there.path / "checkpoints/large").touch()
        sending = threading.Thread(target=there.publish)
        sending.start()
        is_under_way.wait()
        theirs.folder.mkdir(parents=True, exist_ok=True)
        theirs.tell(0, Beat(7))
        ours.ask("stop")
        try:
            wait_until(lambda: theirs.asked() == "stop" and ours.told(1) == [Beat(7)], 10.0)
        finally:
            is_over.set()
            sending.join()


def test_the_pause_follows_the_listing_alone(way: Way, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the outage, and it has an end."""
    monkeypatch.setattr("hlgp_dist.launch.copies.INTERVAL_SECONDS", 0.1)
    with opened(url) as copy:
        way.break_for("stall", 3.0).join()
        (copy.path / "new").touch()
        wait_until(lambda: "new" in Bucket(url).listed(), 10.0)
        copy._results.listing_seconds = 60.0  # type: ignore[attr-defined]
        assert copy._pause() == 15.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("mood", "seconds"), [pytest.param("refuse", 12.0, marks=pytest.mark.soak), ("stall", 7.0)])
def test_a_rank_waits_for_a_store_that_is_away_at_its_start(mood: Mood, seconds: float, way: Way, url: str) -> None:
    Bucket(url).replace("config.yaml", b"seed: 0")
    outage = way.break_for(mood, seconds)
    with opened(url, RANK) as storage:
        assert (storage.path / "config.yaml").read_text() == "seed: 0"
    outage.join()


def test_a_command_is_told_soon(way: Way, url: str, tmp_path: Path) -> None:
    with way.broken("refuse"), pytest.raises(Unreachable, match=r"run\.dir: s3://.*cannot be reached"), opened(url):
        pass
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_signal_ends_the_wait_for_a_store_that_is_away(way: Way, url: str) -> None:
    stop = Stop()
    with opened(url, RANK, stop) as storage:
        with way.broken("refuse"):
            threading.Timer(2.0, stop.request).start()
            began = time.monotonic()
            with pytest.raises(Interrupted, match=r"stopped by a signal while run\.dir did not answer"):
                storage.refresh()
            assert time.monotonic() - began < 60.0
        (storage.path / "config.yaml").write_text("seed: 0")
    assert "config.yaml" in Bucket(url).listed(), "what is left is sent all the same"


def test_a_rank_does_not_begin_with_half_of_it(way: Way, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that read on and gave up would go on at different checkpoints."""
    monkeypatch.setattr("hlgp_dist.launch.copies.Mirror.refresh", lambda self: False)
    monkeypatch.setattr("hlgp_dist.data.patience.AGAIN_SECONDS", 0.01)
    rank = RANK._replace(away_seconds=0.1)
    with pytest.raises(Unreachable, match="files there change faster than they are read"), opened(url, rank):
        pass


def test_who_lost_the_lock_finds_out_before_it_sends(way: Way, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at its next beat, which comes later."""
    monkeypatch.setattr(lease, "FRESH", 0.0)
    former = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with suppress(Interrupted), opened(url) as storage, storage.alone():
            (storage.path / "trials.jsonl").write_text("mine")
            storage.publish()
            Bucket(url).replace(".lock", b'{"lease": "of another one"}')
            Bucket(url).replace("trials.jsonl", b"of another one")
            (storage.path / "trials.jsonl").write_text("mine, and more")
            with pytest.raises(Interrupted, match="another process has taken this one's place"):
                storage.publish()
            raise Interrupted("as a run ends by SIGTERM")
    finally:
        signal.signal(signal.SIGTERM, former)
    assert Bucket(url).read("trials.jsonl") == b"of another one"


def test_a_rank_that_was_told_to_leave_meanwhile_sends_nothing(
    way: Way, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hlgp_dist.launch.copies.INTERVAL_SECONDS", 100.0)
    monkeypatch.setattr("hlgp_dist.launch.copies.LONGEST_SECONDS", 100.0)
    monkeypatch.setattr("hlgp_dist.launch.copies.HEARD_SECONDS", 0.0)
    with opened(url, RANK) as storage:
        Bucket(url).replace(request_of(1), b"leave")
        (storage.path / "metrics.jsonl").write_text("late")
        with pytest.raises(Interrupted, match="another process has taken this one's place"):
            storage.publish()
    assert set(Bucket(url).listed()) == {request_of(1)}


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["ray", "local"])
@pytest.mark.parametrize("mood", MOODS)
def test_a_run_through_an_outage(mood: Mood, kind: str, way: Way, url: str, drawn: Path, tmp_path: Path) -> None:
    """In its middle, longer than any request is waited for: the result is that of one left in peace."""
    options = ("train.epochs=10", "benchmark.max_tasks=3", "checkpoint.every_steps=8", "launch.num_workers=2")
    quiet, _ = start_run(job(drawn, tmp_path / "quiet", *options), "job")
    config = job(drawn, tmp_path / "job", *options, f"launch.kind={kind}", f"run.dir={url}", "run.name=job")
    bucket, outages = Bucket(url), list[threading.Thread]()

    def break_in_the_middle() -> None:
        wait_until(lambda: any("/checkpoints/" in name for name in bucket.listed()), 300.0)
        outages.append(way.break_for(mood, 25.0))

    breaking = threading.Thread(target=break_in_the_middle)
    breaking.start()
    _, result = start_run(config, "job")
    breaking.join()
    outages[0].join()
    folder = fetched(bucket, "job", tmp_path / "fetched")
    assert folder.read_finished() == result
    assert unmeasured(folder) == unmeasured(quiet)
    assert step_values(folder) == step_values(quiet)
    assert list((tmp_path / "tmp").glob("hlgp-*")) == []
