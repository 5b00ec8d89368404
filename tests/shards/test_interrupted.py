"""What an interrupted writer leaves, and how the next one goes on from there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hlgp_dist.data.manifest import UNTOUCHED, Encoding, Manifest
from hlgp_dist.errors import ConfigError, EnvironmentFailure
from hlgp_dist.shards import shard as sharding
from hlgp_dist.shards import writer
from hlgp_dist.shards.encode import Encoded, encode
from hlgp_dist.shards.finished import Finished, save_finished
from hlgp_dist.shards.shard import shard
from tests.small_disk import run_on_small_disk

SHARD_BYTES = 24 * 1024  # as the fixture `shards` has it
PICTURES = 50
FORK = multiprocessing.get_context("fork")


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def stop_after(patch: pytest.MonkeyPatch, shards: int, error: BaseException) -> None:
    """Fail where the next shard would be recorded."""
    left = shards

    def save(file: Path, finished: Finished) -> None:
        nonlocal left
        if not left:
            raise error
        left -= 1
        save_finished(file, finished)

    patch.setattr(writer, "save_finished", save)


def encoded_by(patch: pytest.MonkeyPatch, run: Callable[[], object]) -> int:
    """How many pictures `run` decodes."""
    count = 0

    def counting(data: bytes, encoding: Encoding) -> Encoded:
        nonlocal count
        count += 1
        return encode(data, encoding)

    with patch.context() as own:
        own.setattr(writer, "encode", counting)
        run()
    return count


def interrupt(pictures: Path, folder: Path, *, shards: int = 4, encoding: Encoding = UNTOUCHED) -> int:
    """Finish some shards, and say how many pictures are in them."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, shards, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            shard(pictures, folder, shard_bytes=SHARD_BYTES, encoding=encoding, workers=1)
    records = sorted(folder.with_name(f".{folder.name}.partial").glob("records/*.npz"))
    assert len(records) == shards and not folder.exists()
    return sum(len(finished.samples) for finished in map(writer.load_finished, records) if finished is not None)


def test_finished_shards_are_kept(
    pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shards"
    done = interrupt(pictures, folder)
    (tmp_path / ".shards.partial" / "tars" / ".manifest.json.1.aside").write_text("left by a kill")
    left = encoded_by(monkeypatch, lambda: shard(pictures, folder, shard_bytes=SHARD_BYTES, workers=1))
    assert 0 < left == PICTURES - done
    assert content(folder) == content(shards[0])
    assert list(tmp_path.iterdir()) == [folder]


def test_a_shard_whose_picture_tar_or_record_has_changed_is_made_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = shutil.copytree(pictures, tmp_path / "source"), tmp_path / "shards"
    interrupt(source, folder)
    changed = min((source / "test" / "ant").iterdir())
    changed.write_bytes(changed.read_bytes()[:-2] + b"??")
    _, second, third, fourth = sorted((tmp_path / ".shards.partial" / "records").iterdir())
    tar = tmp_path / ".shards.partial" / "tars" / second.stem
    tar.write_bytes(tar.read_bytes() + b"more")
    third.write_bytes(third.read_bytes()[:-100])
    kept = writer.load_finished(fourth)
    assert kept is not None
    left = encoded_by(monkeypatch, lambda: shard(source, folder, shard_bytes=SHARD_BYTES, workers=1))
    assert left == PICTURES - len(kept.samples)
    shard(source, tmp_path / "fresh", shard_bytes=SHARD_BYTES)
    assert content(folder) == content(tmp_path / "fresh")


@pytest.mark.parametrize("at", [0, 300, 700, -1])
def test_a_flipped_bit_of_a_finished_tar_has_its_shard_made_again(
    at: int, pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same length: only its checksum tells."""
    folder = tmp_path / "shards"
    done = interrupt(pictures, folder)
    tar = min((tmp_path / ".shards.partial" / "tars").glob("*.tar"))
    damaged = bytearray(tar.read_bytes())
    damaged[at] ^= 1
    tar.write_bytes(damaged)
    kept = writer.load_finished(tmp_path / ".shards.partial" / "records" / f"{tar.name}.npz")
    assert kept is not None
    left = encoded_by(monkeypatch, lambda: shard(pictures, folder, shard_bytes=SHARD_BYTES, workers=1))
    assert left == PICTURES - done + len(kept.samples)
    assert content(folder) == content(shards[0])


def test_another_plan_starts_anew_and_leaves_nothing_of_the_first(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scaled = tmp_path / "shards", Encoding(resize=8, quality=90)
    interrupt(pictures, folder)
    assert encoded_by(monkeypatch, lambda: shard(pictures, folder, encoding=scaled, workers=1)) == PICTURES
    assert sorted(content(folder)) == [
        "manifest.json",
        "manifest.sha256",
        "sizes.json",
        "test-000000.tar",
        "train-000000.tar",
    ]
    shard(pictures, tmp_path / "fresh", encoding=scaled)
    assert content(folder) == content(tmp_path / "fresh")


def test_shards_of_another_plan_go_before_anything_is_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be what takes the room."""
    folder, tars = tmp_path / "shards", tmp_path / ".shards.partial" / "tars"
    interrupt(pictures, folder)
    there: list[list[Path]] = []

    def looking(data: bytes, encoding: Encoding) -> Encoded:
        there.append(list(tars.glob("[!.]*")))
        return encode(data, encoding)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "encode", looking)
        shard(pictures, folder, encoding=Encoding(resize=8, quality=90), workers=1)
    assert there[0] == []


def test_a_full_disk_in_the_middle_keeps_what_is_finished(
    pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder, partial = tmp_path / "shards", tmp_path / ".shards.partial"
    full = OSError(errno.ENOSPC, "No space left on device")
    for finished, told in ((0, "nothing of it is left"), (3, f"goes on from {partial}; .* remove that folder")):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, finished, full)
            with pytest.raises(EnvironmentFailure, match=f"^{folder}: No space left on device; .*{told}"):
                shard(pictures, folder, shard_bytes=SHARD_BYTES, workers=1)
        assert len(list(partial.glob("records/*"))) == finished
    shard(pictures, folder, shard_bytes=SHARD_BYTES)
    assert content(folder) == content(shards[0])


def test_nothing_is_left_where_nothing_was_finished(pictures: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 0, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            shard(pictures, tmp_path / "shards", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_after_the_last_rename_leaves_no_obstacle(
    pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    interrupt(pictures, folder)
    shutil.copytree(shards[0], folder)  # as if the rename had been the last thing done
    shard(pictures, folder, shard_bytes=SHARD_BYTES)
    assert list(tmp_path.iterdir()) == [folder]
    assert content(folder) == content(shards[0])


def test_a_kill_leaves_no_folder_and_a_second_writer_is_refused(
    pictures: Path, shards: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, partial = tmp_path / "shards", tmp_path / ".shards.partial"

    def slow(data: bytes, encoding: Encoding) -> Encoded:
        time.sleep(0.03)
        return encode(data, encoding)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "encode", slow)
        victim = FORK.Process(target=shard, args=(pictures, folder), kwargs={"shard_bytes": SHARD_BYTES, "workers": 1})
        victim.start()
        while not list(partial.glob("records/*.npz")):
            time.sleep(0.01)
        with pytest.raises(ConfigError, match="another process"):
            shard(pictures, folder, shard_bytes=SHARD_BYTES)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
    assert not folder.exists()
    shard(pictures, folder, shard_bytes=SHARD_BYTES)
    assert content(folder) == content(shards[0])
    assert not partial.exists()


def children(process: int) -> list[int]:
    """Of Linux: what the process started, and still runs."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]


def test_no_process_outlives_a_killed_writer(pictures: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from hlgp_dist.shards.processes import Jobs\n"
        "def asleep(seconds, advance):\n    time.sleep(seconds)\n"
        "if __name__ == '__main__':\n"
        "    for _ in Jobs(asleep, workers=2, total=0).results([0.01, 0.01, 60, 60]):\n"
        "        print('one', flush=True)\n"
    )
    writing = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert writing.stdout is not None
    assert [writing.stdout.readline() for _ in range(2)] == ["one\n"] * 2
    workers = children(writing.pid)
    assert len(workers) >= 2
    writing.kill()
    writing.communicate()
    deadline = time.monotonic() + 10
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(worker) for worker in workers)


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before and after it is opened
        return False


def test_the_lock_is_of_the_destination(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / ".shards.partial").mkdir()
    with (
        sharding.claimed(tmp_path / "shards"),
        pytest.raises(ConfigError, match="another process is writing it"),
    ):
        shard(pictures, tmp_path / "shards")
    shard(pictures, tmp_path / "shards")


ON_A_SMALL_DISK = """
import os, sys
from hlgp_dist.cli import main
source, folder, *options = sys.argv[1:]
if os.fork() == 0:
    sys.argv = ["hlgp", "data", "shard", source, folder, "--workers", "1", "--resize", "200", "--shard-bytes", "300000"]
    main()
_, status = os.wait()
print(os.waitstatus_to_exitcode(status), sorted(os.listdir(os.path.dirname(folder))), flush=True)
sys.argv = ["hlgp", "data", "shard", source, folder, "--workers", "1", "--resize", "32"]
main()
"""


def test_a_full_disk_is_named_and_is_no_obstacle_to_another_plan(
    tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for index in range(24):
        write_picture(tmp_path / "source" / "train" / "ant" / f"{index}.png", seed=index, width=256, height=200)
    done = run_on_small_disk(disk, "1m", ON_A_SMALL_DISK, tmp_path / "source", disk / "shards")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 ['.shards.partial']\n"), "some shards were finished"
    told = f"hlgp: {disk}/shards: No space left on device; the same command goes on from {disk}/.shards.partial; "
    assert told in done.stderr and "Traceback" not in done.stderr
