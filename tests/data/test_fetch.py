from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import fetch_manifest, length_problems, read_manifest
from hlgp_dist.errors import DataError
from hlgp_dist.shards.sheet import write_sheet
from hlgp_dist.shards.verify import verify
from hlgp_dist.train.preflight import check_fit, preflight
from hlgp_dist.train.supply import manifest_of
from tests.faults import FaultyServer, cut, error, flipped, from_folder, serving
from tests.jobs import job
from tests.objects import upload

S3 = "s3://shards/one"
FILE = "manifest.json"
FETCHED = (f"GET {FILE}", "HEAD manifest.sha256", "GET manifest.sha256")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", None)


def whole_reads(server: FaultyServer) -> int:
    """Requests that were more than a question."""
    return server.asked.count(f"GET {FILE}")


def test_a_remote_manifest_is_the_local_one(
    faulty: FaultyServer, web: FaultyServer, shards: tuple[Path, Manifest]
) -> None:
    for url in (S3, S3 + "/", f"{web.url}/shards"):
        assert read_manifest(url).digest == shards[1].digest
    local = f"file://{shards[0]}"
    assert read_manifest(local).digest == shards[1].digest


def test_it_is_fetched_once_a_host(faulty: FaultyServer, cache: Cache, shards: tuple[Path, Manifest]) -> None:
    faulty.inject(on=FILE)
    for _ in range(4):
        assert fetch_manifest(S3, cache=Cache(cache.folder, None)).digest == shards[1].digest
    assert whole_reads(faulty) == 1


def _digest_into(url: str, folder: Path, file: Path) -> None:
    file.write_text(fetch_manifest(url, cache=Cache(folder, None)).digest)


def test_processes_at_once_fetch_once(
    web: FaultyServer, cache: Cache, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    fork = multiprocessing.get_context("fork")
    web.inject(on=FILE)
    arguments = [(f"{web.url}/shards", cache.folder, tmp_path / str(rank)) for rank in range(3)]
    ranks = [fork.Process(target=_digest_into, args=some) for some in arguments]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(30)
    assert [file.read_text() for _, _, file in arguments] == [shards[1].digest] * 3
    assert whole_reads(web) == 3 + 1  # each asks for its version, by its first byte


def test_another_version_is_fetched_anew(cache: Cache, shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder = shutil.copytree(shards[0], tmp_path / "shards")
    with serving(FaultyServer(partial(from_folder, tmp_path))) as server:
        first = fetch_manifest(f"{server.url}/shards", cache=cache)
        document = json.loads((folder / FILE).read_text())
        (folder / FILE).write_text(json.dumps(document, indent=1))
        with pytest.raises(DataError, match=r"manifest\.json: has the checksum .* copied whole"):
            fetch_manifest(f"{server.url}/shards", cache=cache)
        (folder / "manifest.sha256").write_text(_sha256(folder / FILE))
        assert fetch_manifest(f"{server.url}/shards", cache=cache).digest != first.digest
    assert len(list(cache.folder.glob("*.store"))) == 2
    assert not list(cache.folder.glob("*.partial"))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_damaged_copy_is_replaced(faulty: FaultyServer, cache: Cache, shards: tuple[Path, Manifest]) -> None:
    fetch_manifest(S3, cache=cache)
    (copy,) = cache.folder.glob("*.store")
    content = bytearray(copy.read_bytes())
    content[500] ^= 1
    copy.write_bytes(content)
    faulty.inject(on=FILE)
    for _ in range(3):
        assert fetch_manifest(S3, cache=cache).digest == shards[1].digest
    assert whole_reads(faulty) == 2
    assert len(list(cache.folder.iterdir())) == 2  # with the lock


def test_no_room_for_a_copy_is_no_obstacle(faulty: FaultyServer, tmp_path: Path, shards: tuple[Path, Manifest]) -> None:
    full = Cache(tmp_path / "full", 100)
    assert fetch_manifest(S3, cache=full).digest == shards[1].digest
    assert not list(full.folder.glob("*.store*"))


@pytest.mark.parametrize("fault", [error(500, "InternalError"), cut, flipped])
def test_faults_on_the_way(faulty: FaultyServer, shards: tuple[Path, Manifest], fault: Any) -> None:
    faulty.inject(lambda answer: answer, fault, on=FILE)  # the HEAD passes
    assert fetch_manifest(S3).digest == shards[1].digest


def test_a_lasting_flip_is_an_error(faulty: FaultyServer, cache: Cache) -> None:
    faulty.inject(on=FILE, always=flipped)
    with pytest.raises(DataError, match=rf"{S3}/{FILE}: has the checksum"):
        fetch_manifest(S3, cache=cache)
    assert not list(cache.folder.glob("*.store*"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / FILE).unlink(), "no such shard folder"),
        (lambda folder: (folder / "manifest.sha256").unlink(), r"manifest\.sha256: is not there"),
        (lambda folder: (folder / "test-000000.tar").unlink(), r"test-000000\.tar: the shard is missing"),
        (lambda folder: (folder / "test-000000.tar").write_bytes(b"x"), r"test-000000\.tar: the shard is truncated"),
    ],
)
def test_what_is_wrong_is_named(
    s3_port: int,
    faulty: FaultyServer,
    shards: tuple[Path, Manifest],
    tmp_path: Path,
    change: Callable[[Path], object],
    told: str,
) -> None:
    folder = shutil.copytree(shards[0], tmp_path / "copy")
    change(folder)
    url = upload(s3_port, folder, tmp_path.name)
    with pytest.raises(DataError, match=f"{url}/{told}" if "such" not in told else told):
        read_manifest(url)


def test_lengths_are_asked_of_every_shard(faulty: FaultyServer, shards: tuple[Path, Manifest]) -> None:
    faulty.inject(on=".tar")
    assert list(length_problems(S3, shards[1])) == []
    names = [shard.name for split in shards[1].splits.values() for shard in split.shards]
    assert {f"HEAD {name}" for name in names} == set(faulty.asked)  # an earlier test's last request may come in late


def test_verify_and_the_sheet_read_a_server(
    s3_port: int, faulty: FaultyServer, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    faulty.inject(cut, flipped, on="sizes.json")  # the HEAD, the file
    (problem,) = verify(S3)
    assert problem == f"{S3}/sizes.json: does not match the manifest"
    folder = shutil.copytree(shards[0], tmp_path / "copy")
    split = shards[1].splits["train"]
    with (folder / "train-000000.tar").open("r+b") as stream:
        stream.seek(split.offset[1] + 700)
        stream.write(b"wrong")
    url = upload(s3_port, folder, "verified")
    checksum, sample = verify(url)
    assert checksum == f"{url}/train-000000.tar: the checksum differs from the manifest's"
    assert sample.startswith(f"{url}/train-000000.tar: sample {split.key[1].decode()}: its bytes differ")
    assert write_sheet(S3, tmp_path / "remote.png") == write_sheet(shards[0], tmp_path / "local.png") == 5
    assert (tmp_path / "remote.png").read_bytes() == (tmp_path / "local.png").read_bytes()


def test_the_preflight_and_a_rank(faulty: FaultyServer, shards: tuple[Path, Manifest], tmp_path: Path) -> None:
    cache = tmp_path / "stores"
    config = job(shards[0], tmp_path / "run", f"data.path={S3}", f"data.cache_dir={cache}")
    names = [shard.name for split in shards[1].splits.values() for shard in split.shards]
    faulty.inject()
    assert [task.classes for task in preflight(config)] == [task.classes for task in check_fit(config)]
    assert sorted(faulty.asked) == sorted([*(f"HEAD {name}" for name in names), *[f"HEAD {FILE}"] * 2, *FETCHED])
    faulty.inject()
    assert manifest_of(config).digest == shards[1].digest
    assert faulty.asked == [f"HEAD {FILE}"]
