"""How a run comes to its first step on a host that has done it before: nothing is read twice, asked or compiled."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from tests.jobs import job, written

WATCH = """
import json, os, sys
log = os.open(os.environ["HLGP_TEST_EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def tell(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
        os.write(log, (json.dumps([os.getpid(), event, str(arguments[0])]) + chr(10)).encode())
sys.addaudithook(tell)
os.write(log, (json.dumps([os.getpid(), "started", ""]) + chr(10)).encode())
"""
"""As sitecustomize, hence in the command and in each of its ranks. A compiler would be a process of its own."""
NAME = "vit_tiny_patch16_224"
DRAWN = ("data.kind=synthetic", "data.classes=10", "data.train_per_class=8", "data.test_per_class=2", "data.size=36")
IN_ACCESS, IN_OPEN = 0x1, 0x20
IN_NONBLOCK = os.O_NONBLOCK
WORDS = {IN_ACCESS: "read", IN_OPEN: "opened"}


@contextmanager
def watched(file: Path) -> Iterator[Counter[str]]:
    """How often it was opened and read from, by any process, known once this is left; a memory map reads nothing."""
    libc, events = ctypes.CDLL(None, use_errno=True), Counter[str]()
    descriptor = libc.inotify_init1(IN_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(file), IN_ACCESS | IN_OPEN) >= 0, os.strerror(
        ctypes.get_errno()
    )
    try:
        yield events
        content = os.read(descriptor, 2**20)
        header = struct.Struct("iIII")
        while content:
            _, mask, _, length = header.unpack_from(content)
            events[WORDS[mask]] += 1
            content = content[header.size + length :]
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def trained(folder: Path, file: Path, events: Path) -> None:
    """`hlgp train` with two ranks, watched."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder / "watch"), str(Path(__file__).parents[2])]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HLGP_TEST_EVENTS": str(events),
    }
    command = (sys.executable, "-c", "from hlgp_dist.cli import main; main()", "train", str(file))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_a_warm_host_maps_the_weights_asks_nobody_and_compiles_nothing(tmp_path: Path) -> None:
    """Two runs of two ranks: the first hashes the weights' file, the second finds its hash remembered."""
    weights, vit = tmp_path / "weights.safetensors", {"depth": 4, "embed_dim": 96}
    save_file(timm.create_model(NAME, img_size=32, num_classes=0, **vit).state_dict(), weights)
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    backbone = (f"backbone.name={NAME}", f"backbone.weights={weights}", "backbone.kwargs={depth: 4, embed_dim: 96}")
    seen = {}
    for name in ("cold", "warm"):
        options = (*DRAWN, *backbone, f"data.cache_dir={tmp_path / 'stores'}", "launch.num_workers=2", "train.epochs=1")
        config = job(tmp_path, tmp_path / name, *options, "benchmark.max_tasks=1")
        with watched(weights) as seen[name]:
            trained(tmp_path, written(config, tmp_path / f"{name}.yaml"), tmp_path / f"{name}.events")
    assert seen["cold"]["read"] > 0, "else reads are not seen"
    assert seen["warm"]["opened"] > 0 and seen["warm"]["read"] == 0, "its pages are all processes' own"
    events = [json.loads(line) for line in (tmp_path / "warm.events").read_text().splitlines()]
    assert {process for process, event, _ in events if event == "started"} == {process for process, *_ in events}
    assert sum(event == "started" for _, event, _ in events) >= 3, "the command and two ranks were watched"
    assert [event for event in events if event[1].startswith("socket.")] == []
    started = {Path(what).name for _, event, what in events if event == "subprocess.Popen"}
    assert started <= {"git", "uname", "ldconfig"}, "of env.json, and torch's search for a library of CUDA's"
    assert [event for event in events if event[1].startswith("os.")] == []
