from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.patience import Closed, Patience, Transient
from hlgp_dist.data.remote import Remote, judged
from hlgp_dist.data.selection import select
from hlgp_dist.data.source import BadSample, RangeSource
from hlgp_dist.errors import ConfigError, DataError, Unreachable
from hlgp_dist.ports import free_port
from hlgp_dist.types import PictureSize, TaskSpec
from tests.faults import Fault, FaultyServer, cut, error, flipped, from_folder, late, serving, short, zipped

QUICK = Patience(seconds=0.5, deadline_seconds=10.0, first_pause_seconds=0.01)
IMPATIENT = Patience(seconds=0.0, deadline_seconds=0.3, first_pause_seconds=0.01)
TAR = "train-000000.tar"
FAULTS = {
    "internal error": error(500, "InternalError"),
    "slow down": error(503, "SlowDown"),
    "bad gateway": error(502),
    "cut": cut,
    "short": short,
}
SIZE = PictureSize(8, 0.875, "bilinear")
TASK = TaskSpec(1, 4, ("eel", "bee"))


@pytest.fixture(params=["s3", "http"])
def remote(request: pytest.FixtureRequest) -> tuple[FaultyServer, Remote]:
    """A server and the same folder on it, once as objects and once as files."""
    server = request.getfixturevalue("faulty" if request.param == "s3" else "web")
    url = "s3://shards/one" if request.param == "s3" else f"{server.url}/shards/"
    Remote(url).facts(TAR)  # connected
    return server, Remote(url, QUICK)


@pytest.fixture
def content(shards: tuple[Path, Manifest]) -> bytes:
    return (shards[0] / TAR).read_bytes()


def test_ranges_and_sizes_are_the_files(remote: tuple[FaultyServer, Remote], content: bytes) -> None:
    _, place = remote
    facts = place.facts(TAR)
    assert facts is not None and facts.size == len(content)
    assert place.facts("absent") is None
    assert place.read(TAR) == content
    assert place.read(TAR, 700) == content[700:]
    for start, length in ((0, 1), (513, 1024), (len(content) - 1, 1), (5, 0)):
        assert place.read(TAR, start, length) == content[start : start + length]


def test_pictures_are_those_of_the_local_folder(
    faulty: FaultyServer, web: FaultyServer, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    selection = select(shards[1], TASK, "train", 0.0)
    opened = []
    for name, url in (("local", str(shards[0])), ("s3", "s3://shards/one"), ("web", f"{web.url}/shards")):
        library = Library(open_place(url), shards[1], SIZE, Cache(tmp_path / name, None))
        opened.append(library.inspect(selection, "scaled"))
        library.close()
    for one in opened:
        assert one.bytes_read == selection.bytes
        for sample in range(len(selection)):
            assert np.array_equal(one.pictures[sample], opened[0].pictures[sample])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_passing_fault_costs_an_attempt(remote: tuple[FaultyServer, Remote], content: bytes, fault: Fault) -> None:
    server, place = remote
    server.inject(fault, fault, on=TAR)
    assert place.read(TAR, 100, 2000) == content[100:2100]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (error(503, "SlowDown"), "injected|Service Unavailable"),
        (cut, "ClientPayloadError|IncompleteRead|Connection|truncated|payload"),
    ],
)
def test_a_lasting_fault_ends_when_patience_does(remote: tuple[FaultyServer, Remote], fault: Fault, cause: str) -> None:
    server, place = remote
    server.inject(on=TAR, always=fault)
    began, told = time.monotonic(), rf"{re.escape(place.url)}/{TAR}: cannot be read: .*({cause}).*\(\d+ attempts\)"
    with pytest.raises(Unreachable, match=told):
        place.read(TAR, 0, 2000)
    assert 3 <= len(server.asked) <= 10
    assert QUICK.seconds <= time.monotonic() - began < 10


def test_a_slow_answer_costs_no_more_than_the_deadline(remote: tuple[FaultyServer, Remote], content: bytes) -> None:
    server, place = remote
    place = Remote(place.url, IMPATIENT)
    server.inject(late(1.0), on=TAR)
    assert place.read(TAR, 100, 2000) == content[100:2100]
    server.inject(on=TAR, always=late(1.0))
    with pytest.raises(Unreachable, match=rf"{TAR}: cannot be read: no answer within 0\.3 s \(2 attempts\)"):
        place.read(TAR, 0, 10)
    assert len(server.asked) <= 2


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "NoSuchKey", "is not there"),
        (403, "AccessDenied", "access denied.*environment"),
        (400, "", "the server refuses"),
    ],
)
def test_a_refusal_is_asked_once(remote: tuple[FaultyServer, Remote], status: int, code: str, told: str) -> None:
    server, place = remote
    server.inject(on=TAR, always=error(status, code))
    with pytest.raises(DataError, match=f"{re.escape(place.url)}/{TAR}: {told}"):
        place.read(TAR, 0, 10)
    assert server.asked == [f"GET {TAR}"]


def test_a_range_behind_the_end_is_truncation(remote: tuple[FaultyServer, Remote], content: bytes) -> None:
    _, place = remote
    for start in (len(content) - 5, len(content) + 5):
        with pytest.raises(DataError, match=f"{TAR}: .*truncated"):
            place.read(TAR, start, 10)


def test_wrong_bytes_are_read_again_and_then_a_bad_sample(
    remote: tuple[FaultyServer, Remote], shards: tuple[Path, Manifest]
) -> None:
    server, place = remote
    split = shards[1].splits["train"]
    first = np.flatnonzero(split.shard == 0)[:3]
    right = list(RangeSource(open_place(shards[0]), shards[1], "train", first)())
    server.inject(flipped, flipped, on=TAR)
    source = RangeSource(place, shards[1], "train", first)
    assert list(source()) == right
    assert server.asked == [f"GET {TAR}"] * 3
    assert source.bytes_read > split.size[first].sum()
    server.inject(on=TAR, always=flipped)
    samples = RangeSource(place, shards[1], "train", first)()
    assert next(samples) == right[0]
    with pytest.raises(
        BadSample, match=f"{TAR}: sample {split.key[1].decode()} of class ant: its bytes have the checksum"
    ) as caught:
        next(samples)
    assert (caught.value.index, caught.value.key, caught.value.shard) == (1, split.key[1].decode(), TAR)
    assert len(server.asked) == 1 + place.rereads


def test_a_server_that_comes_up_late(shards: tuple[Path, Manifest], content: bytes) -> None:
    port = free_port()
    place = Remote(f"http://127.0.0.1:{port}/shards", Patience(first_pause_seconds=0.1))
    server = FaultyServer.__new__(FaultyServer)
    starting = Timer(0.3, lambda: FaultyServer.__init__(server, partial(from_folder, shards[0].parent), port))
    starting.start()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(place.read, TAR, 0, 10)
        starting.join()
        with serving(server):
            assert read.result() == content[:10]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Remote(f"http://127.0.0.1:{free_port()}/shards", QUICK)
    with pytest.raises(Unreachable, match=r"cannot be read: .*Cannot connect.*\(\d+ attempts\)"):
        place.facts(TAR)


def test_a_server_without_ranges_is_refused(shards: tuple[Path, Manifest]) -> None:
    with serving(FaultyServer(partial(from_folder, shards[0].parent, ranges=False))) as server:
        place = Remote(f"{server.url}/shards", QUICK)
        for ask in (lambda: place.read(TAR, 0, 10), lambda: place.read(TAR, 600, 10), lambda: place.facts(TAR)):
            server.inject()
            with pytest.raises(DataError, match="the whole file in place of a range"):
                ask()
            assert server.asked == [f"GET {TAR}"]


def test_a_server_that_compresses_is_refused(web: FaultyServer) -> None:
    web.inject(on=TAR, always=zipped)
    with pytest.raises(DataError, match=r"compressed \(gzip"):
        Remote(f"{web.url}/shards", QUICK).read(TAR, 0, 10)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000", "correct AWS_ENDPOINT_URL: a whole URL, as https://HOST:PORT"),
        ("AWS_ENDPOINT_URL_S3", "no url", "correct AWS_ENDPOINT_URL_S3"),
        ("AWS_PROFILE", "nobody", "correct AWS_PROFILE: a profile of"),
        ("AWS_DEFAULT_REGION", "no region", "correct AWS_DEFAULT_REGION"),
        ("AWS_RETRY_MODE", "never", "correct AWS_RETRY_MODE"),
    ],
)
def test_an_environment_that_cannot_be_right_is_tried_once(
    faulty: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^s3://shards/one/{TAR}: .*{value}.*; {told}") as caught:
        Remote("s3://shards/one").facts(TAR)
    assert "testing" not in str(caught.value) and "attempt" not in caplog.text


def test_a_name_that_no_bucket_has(faulty: FaultyServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"Invalid bucket name.*; correct the URL"):
        Remote("s3://no bucket/one").facts(TAR)
    for ask in (lambda place: place.facts(TAR), lambda place: place.read(TAR, 0, 10)):
        with pytest.raises(DataError, match=f"^s3://absent/one/{TAR}: there is no such bucket"):
            ask(Remote("s3://absent/one"))
    assert "attempt" not in caplog.text


def test_what_cannot_be_parsed_is_worth_another_attempt() -> None:
    told = [judged("s3://a/b", error) for error in (json.JSONDecodeError("x", "", 0), ValueError("x"))]
    assert [type(each) for each in told] == [Transient, ConfigError]


def test_without_credentials(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"access denied .*credentials come from the environment"):
        Remote("s3://shards/one").facts(TAR)
    assert "attempt" not in caplog.text


def test_closing_ends_a_read_under_way(remote: tuple[FaultyServer, Remote]) -> None:
    server, place = remote
    patient = Remote(place.url)
    server.inject(on=TAR, always=late(1.5))
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(patient.read, TAR, 0, 10)
        while not server.asked:
            time.sleep(0.01)
        began = time.monotonic()
        patient.close()
        with pytest.raises(Closed):
            read.result()
    assert time.monotonic() - began < 0.5
    with pytest.raises(Closed):
        patient.read(TAR, 0, 10)


def _read_and_tell(place: Remote, file: Path) -> None:
    file.write_bytes(place.read(TAR, 0, 10))


def test_a_forked_process_reads_for_itself(remote: tuple[FaultyServer, Remote], content: bytes, tmp_path: Path) -> None:
    place = Remote(remote[1].url)
    assert place.read(TAR, 0, 10) == content[:10]
    process = multiprocessing.get_context("fork").Process(target=_read_and_tell, args=(place, tmp_path / "read"))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert (tmp_path / "read").read_bytes() == content[:10] == place.read(TAR, 0, 10)


def test_a_process_ends_when_its_work_does(faulty: FaultyServer) -> None:
    script = (
        "import time, threading; from hlgp_dist.data.opening import open_place; "
        "place = open_place('s3://shards/one'); print(place.facts('manifest.json').size > 0); "
        "threading.Thread(target=place.read, args=('train-000000.tar', 0, 10), daemon=True).start(); time.sleep(0.1)"
    )
    faulty.inject(on=TAR, always=late(30))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
