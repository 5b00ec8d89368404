"""No byte of a shard folder can change unnoticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlgp_dist.data.manifest import Manifest
from hlgp_dist.shards.verify import verify

FILES = ("manifest.json", "manifest.sha256", "sizes.json", "train-000000.tar", "train-000002.tar", "test-000001.tar")


@pytest.fixture(scope="session")
def spare(shards: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose bytes a test may change and must restore."""
    return shutil.copytree(shards[0], tmp_path_factory.mktemp("spare") / "shards")


def places(shards: tuple[Path, Manifest]) -> list[tuple[str, int]]:
    """(file, byte) of every kind of place in a tar: each field of a header, data, padding, between, the end."""
    manifest = shards[1]
    found = []
    for split in manifest.splits.values():
        for number, shard in enumerate(split.shards):
            first = int(split.offset[split.shard == number][1])
            fields = (0, 60, 100, 124, 136, 148, 156, 157, 257, 300, 345, 500)
            found += [(shard.name, first + field) for field in (*fields, 512, 600)]
            found += [(shard.name, first - 1), (shard.name, shard.bytes - 1024), (shard.name, shard.bytes - 1)]
    return found


def changed(file: Path, at: int, flip: int) -> list[str]:
    """What `verify` says while one byte of a file is another."""
    content = file.read_bytes()
    file.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    problems = verify(file.parent)
    file.write_bytes(content)
    return problems


def test_every_kind_of_place_in_a_tar(shards: tuple[Path, Manifest], spare: Path) -> None:
    for name, at in places(shards)[::4]:
        assert name in "\n".join(changed(spare / name, at, 1)), (name, at)
    assert verify(spare) == []


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_byte_of_any_file(spare: Path, name: str, place: float, flip: int) -> None:
    assert changed(spare / name, int(place * (spare / name).stat().st_size), flip) != []


def test_a_file_that_is_missing_or_too_many_is_named(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    for name in ("manifest.sha256", "sizes.json", "test-000001.tar"):
        (copy / name).unlink()
    (copy / "train-000099.tar").touch()
    said = "\n".join(verify(copy))
    for name in ("manifest.sha256: cannot", "sizes.json: cannot", "test-000001.tar: the shard is missing", "000099"):
        assert name in said


def test_a_record_that_fails_its_checksum_is_named(shards: tuple[Path, Manifest], spare: Path) -> None:
    split = shards[1].splits["train"]
    file = spare / split.shards[0].name
    whole, sample = changed(file, int(split.offset[1]) + 600, 1)
    assert whole == f"{file}: the checksum differs from the manifest's"
    assert sample == f"{file}: sample {split.key[1].decode()}: its bytes differ from the manifest's checksum"


def test_messages_of_a_shard_are_bounded(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    file = copy / "train-000000.tar"
    file.write_bytes(bytes(file.stat().st_size))
    problems = verify(copy)
    assert len(problems) == 6 and problems[-1].endswith("samples more")


def edited(shards: tuple[Path, Manifest], folder: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """What `verify` finds in a folder whose manifest says something else of the first samples, beside its checksum."""
    copy = shutil.copytree(shards[0], folder)
    document = json.loads((copy / "manifest.json").read_text())
    change(document["splits"]["train"]["samples"])
    (copy / "manifest.json").write_text(json.dumps(document))
    first, *others = verify(copy)
    assert "manifest.sha256: does not match" in first
    return others


def test_keys_labels_and_sizes_are_those_of_the_records(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    def swap_keys(samples: dict[str, Any]) -> None:
        samples["key"][:2] = samples["key"][1::-1]

    def widen(samples: dict[str, Any]) -> None:
        samples["width"][0] += 1

    assert len(edited(shards, tmp_path / "keys", swap_keys)) == 2
    (problem,) = edited(shards, tmp_path / "width", widen)
    assert "its picture is no jpg of 15 x 14 pixels" in problem


def test_every_picture_is_decoded_on_request(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    def widen(samples: dict[str, Any]) -> None:
        samples["width"][1] += 1

    assert edited(shards, tmp_path / "shards", widen) == []
    assert "pixels" in verify(tmp_path / "shards", decode="all")[-1]


def test_workers_do_not_change_what_is_found(shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    copy, calls = shutil.copytree(shards[0], tmp_path / "copy"), list[tuple[int, int]]()
    for name in ("train-000000.tar", "train-000002.tar", "test-000000.tar"):
        (copy / name).write_bytes(bytes((copy / name).stat().st_size))
    alone = verify(copy)
    assert len(alone) > 3
    assert verify(copy, workers=2, progress=lambda done, total: calls.append((done, total))) == alone
    assert calls[-1] == (50, 50)
