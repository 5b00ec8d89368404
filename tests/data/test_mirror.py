"""Folders kept in step with an object store: a real server of S3's protocol on loopback."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hlgp_dist.data.bucket import Bucket
from hlgp_dist.data.lease import Lease
from hlgp_dist.data.mirror import AT_ONCE, Mirror, is_private
from hlgp_dist.errors import AtWork, DataError
from hlgp_dist.launch.sending import gone_with, order
from tests.objects import BUCKET, ENVIRONMENT, google_server, s3_server


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture(scope="module")
def google_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with google_server(tmp_path_factory.mktemp("empty"), "") as port:
        yield port


@pytest.fixture
def url(s3_port: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture(params=["s3", "gs"])
def any_url(url: str, google_port: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Of either protocol."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{google_port}")
    return f"{request.param}{url.removeprefix('s3')}"


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "private"),
    [
        (".lock", True),
        ("checkpoints/.task-01.aside/state.json", True),
        ("metrics.jsonl.partial", True),
        ("trials/a/logs/ray/x", True),
        ("trials/ray/result.json", False),
        ("logs/rank-000.log", False),
    ],
)
def test_what_stays_here(name: str, private: bool) -> None:
    assert is_private(name) == private


def test_two_sides(any_url: str, tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    here, there = Mirror(Bucket(any_url), left), Mirror(Bucket(any_url), right)
    write(left, {"config.yaml": "a: 1", "logs/rank-000.log": "one\n", "empty": "", ".lock": "", "logs/ray/x": "x"})
    here.publish()
    there.refresh()
    shared = {"config.yaml": "a: 1", "logs/rank-000.log": "one\n", "empty": ""}
    assert contents(right) == shared
    with (left / "logs/rank-000.log").open("a") as log:
        log.write("two\n")
    write(right, {"result.json": "{}"})
    (left / "config.yaml").unlink()
    for mirror in (here, there, here, there):
        mirror.publish()
        mirror.refresh()
    assert contents(right) == {"logs/rank-000.log": "one\ntwo\n", "empty": "", "result.json": "{}"}
    assert {name: text for name, text in contents(left).items() if not is_private(name)} == contents(right)


def test_what_grows_is_added_to(url: str, tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    here = Mirror(Bucket(url), left)
    there = Mirror(Bucket(url), right, grows=lambda name: name.startswith("tensorboard/"))
    write(left, {"tensorboard/events": "one\n", "tensorboard/new": "one\n", "metrics.jsonl": "one\n"})
    here.publish()
    there.refresh()
    with (right / "tensorboard/events").open() as reader, (right / "metrics.jsonl").open() as other:
        assert (reader.read(), other.read()) == ("one\n", "one\n")
        new = {"tensorboard/events": "one\ntwo\n", "tensorboard/new": "anew\n", "metrics.jsonl": "one\ntwo\n"}
        write(left, new)
        here.publish()
        there.refresh()
        assert reader.read() == "two\n", "who has it open sees it grow"
        assert other.read() == "", "it was replaced"
    assert contents(right) == new
    there.publish()
    assert contents(left) == new, "it is not taken for this side's own"


def test_what_this_process_writes_is_never_replaced(url: str, tmp_path: Path) -> None:
    """Neither before it was sent nor afterwards: it may be open."""
    left, right = tmp_path / "left", tmp_path / "right"
    here, there = Mirror(Bucket(url), left), Mirror(Bucket(url), right)
    write(right, {"a": "theirs", "b": "theirs"})
    there.publish()
    write(left, {"a": "mine, longer"})
    here.refresh()
    assert contents(left) == {"a": "mine, longer", "b": "theirs"}
    with (left / "a").open("a") as journal:
        here.publish()
        Bucket(url).replace("a", b"of one that should have gone")
        here.refresh()
        journal.write(" still")
    here.publish()
    assert Bucket(url).read("a") == b"mine, longer still"


def test_what_cannot_be_seen_is_not_removed(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "copy", {"checkpoints/a/state.json": "{}", "config.yaml": "x"})
    mirror = Mirror(Bucket(url), tmp_path / "copy", gone_with=gone_with)
    mirror.publish()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing_at(os.scandir, "checkpoints"))
        with pytest.raises(OSError, match="too many open files"):
            mirror.publish()
    (tmp_path / "copy" / "config.yaml").unlink()
    mirror.publish()
    assert set(Bucket(url).listed()) == {"checkpoints/a/state.json", "config.yaml"}
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(OSError, match="No such file"):
        mirror.publish()
    assert set(Bucket(url).listed()) == {"checkpoints/a/state.json", "config.yaml"}


def failing_at(scandir: Callable[..., Any], name: str) -> Callable[..., Any]:
    def failing(path: str) -> Any:
        if Path(path).name == name:
            raise OSError(errno.EMFILE, "too many open files", str(path))
        return scandir(path)

    return failing


def test_what_changes_while_it_is_read_is_read_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that grew is not taken for what it was, one that is gone is none, and the rest is fetched all the same."""
    bucket = Bucket(url)
    for name in ("gone", "grows", "stays"):
        bucket.replace(name, b"{}")
    read, changes = Bucket.read, {"gone": bucket.remove, "grows": lambda name: bucket.replace(name, b"{ more }")}

    def changing(self: Bucket, name: str, start: int = 0, length: int | None = None) -> bytes:
        changes.pop(name, lambda name: None)(name)
        return read(self, name, start, length)

    monkeypatch.setattr(Bucket, "read", changing)
    assert Mirror(bucket, tmp_path).refresh()
    assert contents(tmp_path) == {"grows": "{ more }", "stays": "{}"}


def test_a_record_is_never_behind_its_checkpoint(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are written while the folder is looked at, the record first."""
    write(tmp_path, {"metrics.jsonl": "1", "checkpoints/1/state.json": "{}"})
    mirror = Mirror(Bucket(url), tmp_path, order=order)
    mirror.publish()
    scandir, written = os.scandir, []

    def writing(path: str) -> Any:
        if Path(path).name == "checkpoints" and not written:
            written.append(path)
            write(tmp_path, {"metrics.jsonl": "1, 2", "checkpoints/2/state.json": "{}"})
        return scandir(path)

    monkeypatch.setattr(os, "scandir", writing)
    mirror.publish()
    assert "checkpoints/2/state.json" in Bucket(url).listed()
    assert Bucket(url).read("metrics.jsonl") == b"1, 2"


def test_a_part_of_it(any_url: str, tmp_path: Path) -> None:
    """What is not looked at is neither fetched nor removed; what is written anywhere is sent."""
    write(tmp_path / "all", {"trials/a/x": "x", "trials/ab/x": "other", "logs/stop": "", "trials/a/t.bin": "large"})
    Mirror(Bucket(any_url), tmp_path / "all").publish()
    some = Mirror(Bucket(any_url), tmp_path / "some", ["trials/a", "logs/stop"], lambda name: not name.endswith(".bin"))
    some.refresh()
    assert contents(tmp_path / "some") == {"trials/a/x": "x", "logs/stop": ""}
    write(tmp_path / "some", {"trials/a/mine.bin": "mine"})
    some.publish()
    some.refresh()
    assert "trials/a/mine.bin" in contents(tmp_path / "some")
    found = Bucket(any_url).listed()
    assert set(found) == {"trials/a/x", "trials/ab/x", "logs/stop", "trials/a/t.bin", "trials/a/mine.bin"}


def test_files_are_sent_in_the_order_they_were_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a reader never sees a record without what it records; files that grow all the time go first."""
    sent: list[str] = []
    whole = Bucket.write
    monkeypatch.setattr(Bucket, "write", lambda self, name, file: sent.append(name) or whole(self, name, file))
    saved = ["checkpoints/z/state.safetensors", "checkpoints/z/state.json", "result.json"]
    for second, name in enumerate([*saved, "metrics.jsonl"], 1):
        write(tmp_path, {name: name})
        os.utime(tmp_path / name, (second, second))
    Mirror(Bucket(url), tmp_path, order=order).publish()
    assert sent == ["metrics.jsonl", *saved]


def test_a_bucket_that_is_not_there(url: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": "a"})
    with pytest.raises(DataError, match="there is no such bucket"):
        Mirror(Bucket("s3://nobody/x"), tmp_path).publish()


def test_one_at_a_time(url: str) -> None:
    lost = threading.Event()
    words = rf"process {os.getpid()} of .* is at work in {url}"
    with Lease(url, lost.set, lapse_seconds=3), pytest.raises(AtWork, match=words):
        Lease(url, lost.set, lapse_seconds=3).__enter__()
    with Lease(url, lost.set, lapse_seconds=3):
        assert not lost.is_set()
    assert Bucket(url).listed() == {}


HOLDER = """
import sys, time
from hlgp_dist.data import lease
if sys.argv[2] == "far":
    lease._space = lambda: "another machine"
with lease.Lease(sys.argv[1], lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("where", ["here", "far"])
def test_a_holder_that_was_killed(where: str, url: str) -> None:
    """On this machine that is seen at once; of another one after the lease has lapsed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, url, where], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with Lease(url, lambda: None, lapse_seconds=4):
        waited = time.monotonic() - began
    assert waited < 4 if where == "here" else waited >= 4


def test_a_holder_that_was_replaced_hears_of_it(url: str) -> None:
    lost = threading.Event()
    with Lease(url, lost.set, lapse_seconds=2):
        Bucket(url).replace(".lock", b'{"lease": "of another one"}')
        assert lost.wait(10)
    assert set(Bucket(url).listed()) == {".lock"}, "and leaves the other one's alone"


def test_messages_are_heard_side_by_side(url: str, tmp_path: Path) -> None:
    """One after the other those of a thousand ranks would take as long as a thousand answers of the store."""
    there, here = Bucket(url), Mirror(Bucket(url), tmp_path / "here")
    told = {f"beats/{number}": f"{number}" for number in range(2 * AT_ONCE)}
    for name, content in told.items():
        there.replace(name, content.encode())
    together, read = threading.Barrier(AT_ONCE), Bucket.read

    def met(bucket: Bucket, name: str, start: int = 0, length: int | None = None) -> bytes:
        together.wait(60)
        return read(bucket, name, start, length)

    with mock.patch.object(Bucket, "read", met):
        assert here.refresh()
    assert {name: (tmp_path / "here" / name).read_text() for name in told} == told


def test_links_are_not_followed(url: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("not ours")
    here = Mirror(Bucket(url), tmp_path / "here")
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "here" / "mine").write_text("mine")
    here.publish()
    assert set(Bucket(url).listed()) == {"mine"}
