"""`gs://` by gcsfs, against an emulator of Google Cloud Storage on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.patience import Patience
from hlgp_dist.data.remote import Remote
from hlgp_dist.data.selection import select
from hlgp_dist.data.source import BadSample, RangeSource
from hlgp_dist.errors import DataError, Unreachable
from hlgp_dist.shards.verify import verify
from hlgp_dist.types import PictureSize, TaskSpec
from tests.faults import Fault, FaultyServer, cut, error, flipped, forwarded, late, serving, short
from tests.objects import google_server

URL = "gs://shards/one"
TAR = "train-000000.tar"
QUICK = Patience(seconds=1.0, deadline_seconds=10.0, first_pause_seconds=0.01)
SIZE = PictureSize(8, 0.875, "bilinear")
TASK = TaskSpec(1, 4, ("eel", "bee"))


@pytest.fixture(scope="module")
def before_google(shards: tuple[Path, Manifest]) -> Iterator[FaultyServer]:
    with google_server(shards[0], "one") as port, serving(FaultyServer(partial(forwarded, port))) as server:
        yield server


@pytest.fixture
def google(before_google: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> FaultyServer:
    """Without faults; the environment leads there, where nobody is asked for credentials."""
    before_google.inject()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", before_google.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return before_google


@pytest.fixture
def content(shards: tuple[Path, Manifest]) -> bytes:
    return (shards[0] / TAR).read_bytes()


def test_ranges_and_sizes_are_the_files(google: FaultyServer, content: bytes) -> None:
    place = Remote(URL, QUICK)
    facts = place.facts(TAR)
    assert facts is not None and facts.size == len(content) and facts.version
    assert place.facts("absent") is None
    assert place.read(TAR) == content
    for start, length in ((0, 1), (513, 1024), (len(content) - 1, 1), (5, 0)):
        assert place.read(TAR, start, length) == content[start : start + length]


def test_manifest_pictures_and_checksums_are_those_of_the_local_folder(
    google: FaultyServer, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    manifest = read_manifest(URL)
    assert manifest.digest == shards[1].digest
    selection = select(manifest, TASK, "train", 0.0)
    opened = []
    for name, url in (("local", str(shards[0])), ("google", URL)):
        library = Library(open_place(url), manifest, SIZE, Cache(tmp_path / name, None))
        opened.append(library.inspect(selection, "scaled"))
        library.close()
    assert opened[0].bytes_read == opened[1].bytes_read == selection.bytes
    for sample in range(len(selection)):
        assert np.array_equal(opened[0].pictures[sample], opened[1].pictures[sample])
    assert verify(URL, workers=1) == []


def test_wrong_bytes_are_read_again_and_then_a_bad_sample(google: FaultyServer, shards: tuple[Path, Manifest]) -> None:
    place = Remote(URL, QUICK)
    google.inject(on=TAR, always=flipped)
    with pytest.raises(BadSample, match=f"{TAR}: sample .* its bytes have the checksum"):
        next(RangeSource(place, shards[1], "train", np.arange(1))())
    assert len(google.asked) == 1 + place.rereads


@pytest.mark.parametrize("fault", [error(503), cut, short], ids=["unavailable", "cut", "short"])
def test_a_passing_fault_costs_an_attempt(fault: Fault, google: FaultyServer, content: bytes) -> None:
    google.inject(fault, on=TAR)
    assert Remote(URL, QUICK).read(TAR, 100, 2000) == content[100:2100]
    assert sum("alt=media" in asked for asked in google.asked) == 2


@pytest.mark.parametrize(
    ("status", "told"), [(404, "is not there"), (403, "access denied.*environment"), (401, "access denied")]
)
def test_a_refusal_is_asked_once(status: int, told: str, google: FaultyServer) -> None:
    google.inject(on=TAR, always=error(status))
    with pytest.raises(DataError, match=f"^{URL}/{TAR}: {told}"):
        Remote(URL, QUICK).read(TAR, 0, 10)
    assert len(google.asked) == 1


def test_what_is_not_there(google: FaultyServer) -> None:
    with pytest.raises(DataError, match=f"{URL}/absent.tar: is not there"):
        Remote(URL, QUICK).read("absent.tar", 0, 10)
    with pytest.raises(DataError, match=r"gs://absent/one"):
        read_manifest("gs://absent/one")


def test_a_slow_answer_costs_no_more_than_the_deadline(google: FaultyServer, content: bytes) -> None:
    place = Remote(URL, Patience(seconds=0.0, deadline_seconds=0.5, first_pause_seconds=0.01))
    assert place.read(TAR, 0, 10) == content[:10]  # connected
    google.inject(on=TAR, always=late(2.0))
    with pytest.raises(Unreachable, match=rf"{TAR}: cannot be read: no answer within 0\.5 s \(2 attempts\)"):
        place.read(TAR, 0, 10)
