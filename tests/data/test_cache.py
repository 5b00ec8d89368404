"""The bounded folder: what is in use stays, what was used longest ago goes, and no kill leaves anything that lasts."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.room import PARTIAL, SUFFIX, NoRoom, Room
from tests.small_disk import run_on_small_disk

FORK = multiprocessing.get_context("fork")
LIMIT = 100


def content(name: str, size: int) -> bytes:
    return (name.encode() * size)[:size]


def obtain(cache: Cache, name: str, size: int) -> int:
    """The descriptor; what it holds is checked."""

    def write(descriptor: int) -> int:
        return os.pwrite(descriptor, content(name, size), 0)

    held = cache.obtain(name, size, write)
    assert held is not None
    assert os.pread(held.descriptor, 2 * LIMIT, 0) == content(name, size)
    return held.descriptor


def names(cache: Cache) -> set[str]:
    return {file.name.removesuffix(SUFFIX) for file in cache.folder.iterdir() if file.suffix == SUFFIX}


def must_not_write(descriptor: int) -> NoReturn:
    raise AssertionError("it is there already")


@given(
    sizes=st.fixed_dictionaries({name: st.integers(1, 60) for name in "abcdefgh"}),
    uses=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3)), max_size=30),
)
def test_within_the_limit_in_use_stays_and_the_longest_unused_goes(
    sizes: dict[str, int], uses: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a list in memory: each use holds its file for as many further uses as it says."""
    cache = Cache(tmp_path_factory.mktemp("cache"), LIMIT)
    expected: OrderedDict[str, None] = OrderedDict()
    held: list[tuple[int, str, int]] = []
    for now, (name, uses_held) in enumerate(uses):
        for entry in [entry for entry in held if entry[0] <= now]:
            os.close(entry[2])
            held.remove(entry)
        in_use = {name for _, name, _ in held}
        missing = 0 if name in expected else sum(sizes[other] for other in expected) + sizes[name] - LIMIT
        victims: list[str] = []
        for other in expected:
            if other not in in_use and sum(sizes[victim] for victim in victims) < missing:
                victims.append(other)
        if sum(sizes[victim] for victim in victims) < missing:
            with pytest.raises(NoRoom):
                obtain(cache, name, sizes[name])
        else:
            for victim in victims:
                del expected[victim]
            held.append((now + 1 + uses_held, name, obtain(cache, name, sizes[name])))
            expected[name] = None
            expected.move_to_end(name)
        assert names(cache) == set(expected)
        assert Room(cache.folder, None).used() == sum(sizes[other] for other in expected) <= LIMIT
        assert not list(cache.folder.glob(f"*{PARTIAL}"))
    for _, _, descriptor in held:
        os.close(descriptor)


def test_a_file_is_made_once_and_given_its_final_length(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new", None)
    first = cache.obtain("a", 1000, lambda descriptor: os.pwrite(descriptor, b"xyz", 0))
    second = cache.obtain("a", 1000, must_not_write)
    assert first is not None and second is not None
    assert (first.made, second.made, Room(cache.folder, None).used()) == (True, False, 3)
    for held in (first, second):
        assert os.pread(held.descriptor, 10, 0) == b"xyz"
        os.close(held.descriptor)


def test_of_threads_and_processes_one_makes_and_the_others_wait(tmp_path: Path) -> None:
    cache, log = Cache(tmp_path / "cache", None), tmp_path / "log"

    def write(descriptor: int) -> int:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.1)
        return os.pwrite(descriptor, b"xyz", 0)

    def reader() -> None:
        held = Cache(tmp_path / "cache", None).obtain("a", 3, write)
        assert held is not None and os.pread(held.descriptor, 10, 0) == b"xyz"

    readers = [FORK.Process(target=reader) for _ in range(4)]
    for process in readers:
        process.start()
    threads = [threading.Thread(target=cache.obtain, args=("a", 3, write)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for waiter in (*threads, *readers):
        waiter.join()
    assert [process.exitcode for process in readers] == [0] * 4
    assert log.read_text() == "made\n"


def test_who_does_not_wait_goes_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path, None)

    def write(descriptor: int) -> int:
        assert Cache(tmp_path, None).obtain("a", 3, must_not_write, wait=False) is None
        return os.pwrite(descriptor, b"xyz", 0)

    assert cache.obtain("a", 3, write) is not None


def test_a_failure_leaves_nothing_and_the_next_one_makes_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path, None)

    def fail(descriptor: int) -> NoReturn:
        os.pwrite(descriptor, b"x", 0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.obtain("a", 3, fail)
    assert {file.name for file in tmp_path.iterdir()} <= {".lock"}
    os.close(obtain(cache, "a", 3))


def test_in_use_lasts_as_long_as_a_map(tmp_path: Path) -> None:
    cache = Cache(tmp_path, LIMIT)
    descriptor = obtain(cache, "a", 60)
    mapped = mmap.mmap(descriptor, 60, access=mmap.ACCESS_READ)
    os.close(descriptor)
    with pytest.raises(NoRoom):
        obtain(cache, "b", 60)
    assert mapped[:] == content("a", 60)
    mapped.close()
    os.close(obtain(cache, "b", 60))
    assert names(cache) == {"b"}


def test_what_is_discarded_is_made_again_and_its_readers_go_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path, None)
    old = obtain(cache, "a", 5)
    cache.discard("a", old)
    new = obtain(cache, "a", 7)
    cache.discard("a", old)  # another by now
    assert names(cache) == {"a"}
    assert os.pread(old, 10, 0) == content("a", 5)
    assert os.pread(new, 10, 0) == content("a", 7)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_noticed_before_writing(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, None)
    os.close(obtain(cache, "a", 60))

    def full(*_: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoom):
        cache.obtain("b", 60, must_not_write)
    assert {file.name for file in tmp_path.iterdir()} == {".lock"}, "all that was not in use has gone for it"


def test_a_file_that_may_not_grow_is_no_room(tmp_path: Path) -> None:
    """The kernel's own refusal, as of a full disk: a process whose files are bounded."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
        with pytest.raises(NoRoom):
            Cache(tmp_path, None).obtain("a", 2**20, must_not_write)

    process = FORK.Process(target=bounded)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert {file.name for file in tmp_path.iterdir()} == {".lock"}


def test_a_twentieth_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2000, 1840, 160))
    os.close(obtain(Cache(tmp_path, None), "a", 60))
    with pytest.raises(NoRoom):
        obtain(Cache(tmp_path, None), "b", 61)
    with pytest.raises(NoRoom):
        obtain(Cache(tmp_path, LIMIT), "b", 61)


def kill_makers(folder: Path, times: int) -> None:
    """Makers of one file after the other, killed at random; then everything there is whole, and nothing else is."""

    def make_for_ever() -> None:
        cache, draws = Cache(folder, 10 * LIMIT), random.Random(os.getpid())

        def write(descriptor: int) -> int:
            size = draws.randrange(1, LIMIT)
            for start in range(size):
                os.pwrite(descriptor, bytes([size]), start)
            return size

        while True:
            held = cache.obtain(str(draws.randrange(40)), LIMIT, write)
            assert held is not None
            os.close(held.descriptor)

    makers = [FORK.Process(target=make_for_ever, daemon=True) for _ in range(2)]
    for process in makers:
        process.start()
    for _ in range(times):
        time.sleep(random.uniform(0.005, 0.08))
        victim = makers.pop(0)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
        makers.append(FORK.Process(target=make_for_ever, daemon=True))
        makers[-1].start()
        for file in folder.glob(f"*{SUFFIX}"):
            try:
                whole = file.read_bytes()
            except FileNotFoundError:  # another maker needed its room in between
                continue
            assert whole == bytes([len(whole)]) * len(whole)
    for process in makers:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    cache = Cache(folder, 10 * LIMIT)
    os.close(obtain(cache, "last", LIMIT))
    assert not list(folder.glob(f"*{PARTIAL}"))
    assert Room(cache.folder, None).used() <= 10 * LIMIT


def test_kills_leave_whole_files_alone(tmp_path: Path) -> None:
    kill_makers(tmp_path, 5)


@pytest.mark.soak
def test_many_kills_leave_whole_files_alone(tmp_path: Path) -> None:
    kill_makers(tmp_path, 50)


IN_A_SMALL_FILE_SYSTEM = """
import os, pathlib, sys
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.room import NoRoom
folder, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2]) or None
(folder / "other").write_bytes(bytes(600_000))
cache, held = Cache(folder / "cache", limit), []
try:
    while True:
        held.append(cache.obtain(str(len(held)), 100_000, lambda descriptor: os.pwrite(descriptor, bytes(100_000), 0)))
except NoRoom:
    free = os.statvfs(folder)
    print(len(held), free.f_bavail * free.f_frsize)
"""


@pytest.mark.parametrize("limit", [0, 10**9])
def test_a_real_disk_is_never_filled(limit: int, tmp_path: Path) -> None:
    done = run_on_small_disk(tmp_path, "1m", IN_A_SMALL_FILE_SYSTEM, tmp_path, limit)
    assert done.returncode == 0, done.stderr
    made, free = map(int, done.stdout.split())
    assert made >= 2
    assert free >= 2**20 // 20
