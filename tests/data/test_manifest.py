from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.errors import DataError
from hlgp_dist.shards.verify import verify
from tests.sharded import write_checked


@pytest.fixture
def copy(shards: tuple[Path, Manifest], tmp_path: Path) -> Path:
    return shutil.copytree(shards[0], tmp_path / "copy")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    write_checked(folder, json.dumps(document))


def test_a_manifest_that_is_not_what_was_written_is_refused(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace("20", "21", 1))
    with pytest.raises(DataError, match=r"has the checksum [0-9a-f]+, manifest\.sha256 says"):
        read_manifest(copy)
    (copy / "manifest.json").write_text(text)
    (copy / "manifest.sha256").unlink()
    with pytest.raises(DataError, match=r"manifest\.sha256: cannot be read"):
        read_manifest(copy)


def test_a_folder_reads_back(shards: tuple[Path, Manifest], copy: Path) -> None:
    assert read_manifest(copy).digest == shards[1].digest
    assert verify(copy) == []


def test_a_process_parses_a_manifest_once_and_a_changed_one_anew(copy: Path) -> None:
    first = read_manifest(copy)
    assert read_manifest(copy) is first
    edit(copy, lambda document: document.update(source_hash="0" * 64))
    assert read_manifest(copy).source_hash == "0" * 64 != first.source_hash


def test_what_is_missing_is_named(copy: Path) -> None:
    with pytest.raises(DataError, match="no such shard folder"):
        read_manifest(copy / "absent")
    (copy / "test-000000.tar").unlink()
    with pytest.raises(DataError, match=r"test-000000\.tar: the shard is missing"):
        read_manifest(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json"):
        read_manifest(copy)


def test_a_truncated_shard_is_named(copy: Path) -> None:
    victim = copy / "train-000001.tar"
    victim.write_bytes(victim.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"train-000001\.tar: the shard is truncated"):
        read_manifest(copy)
    (problem,) = verify(copy)
    assert "train-000001.tar" in problem


def set_version(document: dict[str, Any]) -> None:
    document["schema_version"] = 1


def flatten(document: dict[str, Any]) -> None:
    document["splits"]["test"]["samples"]["height"][0] = 0


def drop_width(document: dict[str, Any]) -> None:
    document["splits"]["test"]["samples"]["width"].pop()


def go_back(document: dict[str, Any]) -> None:
    offsets = document["splits"]["train"]["samples"]["offset"]
    offsets[0], offsets[1] = offsets[1], offsets[0]


def cut_checksum(document: dict[str, Any]) -> None:
    samples = document["splits"]["test"]["samples"]
    samples["checksum"] = samples["checksum"][:-1]


def drop_checksum(document: dict[str, Any]) -> None:
    samples = document["splits"]["test"]["samples"]
    samples["checksum"] = samples["checksum"][:-16]


def halve_encoding(document: dict[str, Any]) -> None:
    document["encoding"]["resize"] = 256


def drop_count(document: dict[str, Any]) -> None:
    document["splits"]["train"]["counts"][0] -= 1


def drop_key(document: dict[str, Any]) -> None:
    document["splits"]["train"]["samples"]["key"].pop()


def move_out(document: dict[str, Any]) -> None:
    document["splits"]["test"]["samples"]["offset"][-1] += 10**9


def climb_out(document: dict[str, Any]) -> None:
    document["splits"]["test"]["shards"][0]["name"] = "../test-000000.tar"


def repeat_key(document: dict[str, Any]) -> None:
    keys = document["splits"]["train"]["samples"]["key"]
    keys[1] = keys[0]


def forget_classes(document: dict[str, Any]) -> None:
    del document["classes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_version, "schema_version is 1, this version reads 2; shard it again"),
        (flatten, "without width or height"),
        (drop_width, "different lengths"),
        (go_back, "samples overlap, or are not in the order"),
        (cut_checksum, "16 hex digits"),
        (drop_checksum, "different lengths"),
        (halve_encoding, "half given"),
        (drop_count, "class counts"),
        (drop_key, "different lengths"),
        (move_out, "outside its shard"),
        (climb_out, "name is a path"),
        (repeat_key, "twice"),
        (forget_classes, "classes"),
    ],
)
def test_an_inconsistent_manifest_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(copy, change)
    with pytest.raises(DataError, match=message):
        read_manifest(copy)
    assert message in verify(copy)[0]


def test_text_that_is_no_manifest(copy: Path) -> None:
    for text in ("", "[]", "{", "null"):
        write_checked(copy, text)
        with pytest.raises(DataError, match="not a valid manifest"):
            read_manifest(copy)
