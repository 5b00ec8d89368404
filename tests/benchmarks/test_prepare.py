"""The whole way as a user types it: checksums, counts, what is recorded, and what is left after a failure."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hlgp_dist.benchmarks import catalogue, prepare
from hlgp_dist.benchmarks.archive import md5
from hlgp_dist.benchmarks.catalogue import CATALOGUE, Expected, choose
from hlgp_dist.cli import main
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.shards.verify import verify
from tests.benchmarks.originals import cifar_python, cub, folder, tar, tree
from tests.sharded import write_checked

DIVIDED = tree(*(f"train/cat/{n}.jpg" for n in range(4)), "train/dog/0.jpg", "test/cat/9.jpg", "test/dog/9.jpg")
FORK = multiprocessing.get_context("fork")


def hlgp(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `hlgp data ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["hlgp", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def expect(monkeypatch: pytest.MonkeyPatch, name: str, expected: Expected) -> None:
    """The command line knows no counts but the published; here the catalogue has small ones."""
    benchmark = CATALOGUE[name]
    changed = dataclasses.replace(benchmark, expected=dict.fromkeys(benchmark.expected, expected))
    monkeypatch.setitem(catalogue.CATALOGUE, name, changed)  # type: ignore[arg-type]


def quiet(done: int, total: int) -> None:
    pass


def cifar(path: Path) -> Path:
    return cifar_python(path, [b"apple", b"baby"], {"train": [0, 1, 1], "test": [0, 1]})


def test_a_verified_archive_and_what_info_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = cifar(tmp_path / "cifar-100-python.tar.gz")
    expect(monkeypatch, "cifar100", Expected({archive.name: md5(archive, quiet)}, train=3, test=2, classes=2))
    assert hlgp(monkeypatch, "prepare", "cifar100", "--from", archive, "--out", tmp_path / "out") == 0
    assert "prepared: cifar100, split published, as published" in capsys.readouterr().out
    assert verify(tmp_path / "out") == []
    origin = read_manifest(tmp_path / "out").origin
    assert origin is not None and origin.differences == ()
    assert origin.archives == {archive.name: md5(archive, quiet)}
    assert hlgp(monkeypatch, "info", tmp_path / "out") == 0
    assert "prepared: cifar100, split published, as published" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == [archive.name, "out"]


def test_another_checksum_is_refused_then_accepted_knowingly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = cub(tmp_path / "CUB_200_2011.tgz")
    expect(
        monkeypatch,
        "cub200",
        dataclasses.replace(CATALOGUE["cub200"].expected["published"], train=3, test=3, pictures=6, classes=2),
    )
    arguments = ("prepare", "cub200", "--from", archive, "--out", tmp_path / "out")
    assert hlgp(monkeypatch, *arguments) == 3
    said = capsys.readouterr().err
    assert f"MD5 is {md5(archive, quiet)}, published is 97eceeb196236b17998738112f37df78 (CUB_200_2011.tgz)" in said
    assert "--unverified" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [archive]
    assert hlgp(monkeypatch, *arguments, "--unverified") == 0
    assert "unverified\nCUB_200_2011.tgz: MD5 is" in capsys.readouterr().out
    origin = read_manifest(tmp_path / "out").origin
    assert origin is not None and origin.unchecked == () and "MD5 is" in origin.waived[0]


def test_a_published_count_is_never_waived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the catalogue as it is."""
    archive = cifar(tmp_path / "c.tar.gz")
    assert hlgp(monkeypatch, "prepare", "cifar100", "--from", archive, "--out", tmp_path / "out", "--unverified") == 3
    said = capsys.readouterr().err
    assert "3 training pictures, not 50,000; 2 test pictures, not 10,000; 2 classes, not 100" in said
    assert list(tmp_path.iterdir()) == [archive]


def test_a_count_that_others_gave_may_differ_knowingly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tar(tmp_path / "imagenet-a.tar", DIVIDED)
    arguments = ("prepare", "imagenet-a", "--from", archive, "--out", tmp_path / "out")
    assert hlgp(monkeypatch, *arguments) == 3
    assert "5 training pictures, not 5,981; 2 test pictures, not 1,519; 2 classes, not 200" in capsys.readouterr().err
    assert hlgp(monkeypatch, *arguments, "--unverified") == 0
    origin = read_manifest(tmp_path / "out").origin
    assert origin is not None and origin.unchecked == ("no checksum is published",)
    assert [text.split(",")[0] for text in origin.waived] == ["the archive holds 5 training pictures"]


def test_the_wrong_archive_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tar(tmp_path / "imagenet-a.tar", DIVIDED)
    arguments = ("--from", archive, "--out", tmp_path / "out", "--unverified")
    assert hlgp(monkeypatch, "prepare", "imagenet_r", *arguments) == 3
    assert (
        "imagenet_r: 6000 of 6000 listed pictures are not in the archive, first n01443537/" in capsys.readouterr().err
    )
    assert hlgp(monkeypatch, "prepare", "cub200", *arguments) == 3
    assert "no member images.txt in the archive, which holds test/cat/9.jpg" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist",), "no such benchmark; known are cifar100, imagenet_r, imagenet_a, vtab, vtab_rebuild, cub200"),
        (("cub200", "--split", "random-80-20"), "--split random-80-20: cub200 has published"),
        (("imagenet_r", "--seed", "1"), "--seed 1: has no effect on --split coda, only on random-80-20"),
        (("imagenet_r", "--split", "file"), "go together"),
        (("imagenet_r", "--split", "coda", "--split-file", "list.txt"), "go together"),
        (("vtab", "--domain", "real"), "--domain real: vtab has no domains"),
        (("domainnet", "--domain", "photo"), "--domain photo: domainnet has all, clipart, infograph"),
        (("folder", "--shard-bytes", "0"), "should be greater than or equal to 1"),
    ],
)
def test_misuse_ends_with_2(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tar(tmp_path / "a.tar", DIVIDED)
    assert hlgp(monkeypatch, "prepare", *arguments, "--from", archive, "--out", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == [archive]


def test_the_destination_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, out = tar(tmp_path / "a.tar.gz", DIVIDED, "w:gz"), tmp_path / "out"
    arguments = ("prepare", "folder", "--from", archive, "--out", out)
    assert hlgp(monkeypatch, *arguments) == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert hlgp(monkeypatch, *arguments) == 0
    assert before == {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert hlgp(monkeypatch, *arguments, "--split", "random-80-20") == 2
    assert "was prepared from folder, split published, checksum not compared" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert hlgp(monkeypatch, "prepare", "folder", "--from", tmp_path / "no.tar", "--out", tmp_path / "mine") == 2
    assert "not empty, and no whole shard folder" in capsys.readouterr().err  # before any archive is looked at
    (tmp_path / "file").touch()
    assert hlgp(monkeypatch, *arguments[:-1], tmp_path / "file") == 2
    assert hlgp(monkeypatch, "prepare", "folder", "--from", archive, "--from", archive, "--out", out) == 2
    assert "is given twice" in capsys.readouterr().err


def test_an_unpacked_folder_has_no_checksum_and_says_so(tmp_path: Path) -> None:
    source = folder(tmp_path / "images", DIVIDED)
    benchmark = CATALOGUE["cifar100"]
    with pytest.raises(DataError, match=r"cifar100: no member meta in the archive"):
        prepare.prepare(benchmark, [source], tmp_path / "out", choose(benchmark))
    benchmark = CATALOGUE["folder"]
    manifest = prepare.prepare(benchmark, [source], tmp_path / "out", choose(benchmark))
    assert manifest.origin is not None and manifest.origin.archives == {"images": None}


def test_shards_do_not_depend_on_how_the_source_was_packed(tmp_path: Path) -> None:
    benchmark, choice = CATALOGUE["folder"], choose(CATALOGUE["folder"])
    prepare.prepare(benchmark, [tar(tmp_path / "a.tar", DIVIDED)], tmp_path / "one", choice)
    prepare.prepare(benchmark, [tar(tmp_path / "a.tgz", DIVIDED, "w:gz")], tmp_path / "two", choice, workers=3)
    shards = [{file.name: file.read_bytes() for file in (tmp_path / out).glob("*.tar")} for out in ("one", "two")]
    assert shards[0] == shards[1] and len(shards[0]) == 2


def test_a_kill_leaves_no_obstacle_and_no_unpacked_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, out = tar(tmp_path / "a.tar.gz", DIVIDED, "w:gz"), tmp_path / "below" / "out"
    benchmark, choice = CATALOGUE["folder"], choose(CATALOGUE["folder"])
    reached = tmp_path / "reached"

    def stuck(*_: object, **__: object) -> None:
        reached.touch()
        time.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "shard_pictures", stuck)
        victim = FORK.Process(target=prepare.prepare, args=(benchmark, [archive], out, choice))
        victim.start()
        while not reached.exists():
            time.sleep(0.01)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
    assert list(out.parent.iterdir()) == []
    prepare.prepare(benchmark, [archive], out, choice)
    assert verify(out) == []


def test_a_manifest_without_or_with_a_broken_origin(tmp_path: Path) -> None:
    benchmark, out = CATALOGUE["folder"], tmp_path / "out"
    prepare.prepare(benchmark, [tar(tmp_path / "a.tar", DIVIDED)], out, choose(benchmark))
    document = json.loads((out / "manifest.json").read_text())
    origin = document.pop("origin")
    write_checked(out, json.dumps(document))
    assert read_manifest(out).origin is None
    for broken in ({**origin, "waived": [1]}, {**origin, "seeds": 1}, {"benchmark": "folder"}, "folder"):
        write_checked(out, json.dumps({**document, "origin": broken}))
        with pytest.raises(DataError, match="not a valid manifest"):
            read_manifest(out)


def test_a_bar_goes_through_every_stage(tmp_path: Path) -> None:
    titles: list[str] = []

    @contextmanager
    def bar(title: str) -> Iterator[prepare.Progress]:
        titles.append(title)
        yield quiet

    benchmark = CATALOGUE["folder"]
    prepare.prepare(benchmark, [tar(tmp_path / "a.tgz", DIVIDED, "w:gz")], tmp_path / "out", choose(benchmark), bar=bar)
    assert titles == ["checksums", "reading", "sharding"]


def test_names_of_benchmarks() -> None:
    with pytest.raises(ConfigError, match="nothing: no such benchmark"):
        catalogue.benchmark_named("nothing")
    assert catalogue.benchmark_named("ImageNet-R").name == "imagenet_r"
