"""Rank processes that outlive a run: importing torch and DeepSpeed takes longer than a test's run does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.files import write_text
from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.stop import STOP_SIGNALS
from hlgp_dist.launch.worker import work
from hlgp_dist.ports import free_port
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import World

ANSWER_SECONDS = 120


class Ranks:
    """Real processes in which real process groups come and go. Groups may be smaller than there are processes.

    Their PATH is empty: nothing of a run may need a compiler, which DeepSpeed looks for, or another tool.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", "")
            for _ in range(self._size):
                ours, theirs = spawn.Pipe()
                process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
                process.start()
                self._ends.append(ours)
                self._processes.append(process)

    def call(self, size: int, function: Callable[..., Any], *args: object) -> list[Any]:
        """What `function(rank, size, *args)` returns on each of `size` ranks."""
        port = free_port()
        for rank, end in enumerate(self._ends[:size]):
            end.send((rank, size, port, function, args))
        answers = []
        for end in self._ends[:size]:
            if not end.poll(ANSWER_SECONDS):
                self.close()
                self._start()
                raise AssertionError("a rank does not answer")
            answers.append(end.recv())
        failures = [trace for trace, _ in answers if trace]
        assert not failures, "\n".join(failures)
        return [value for _, value in answers]

    def run(self, config: RunConfig) -> tuple[RunFolder, list[int]]:
        """A run with `launch.num_workers` of the processes as its ranks: its folder, and every rank's exit code."""
        folder = RunFolder(f"{config.run.dir}/{config.run.name}")
        write_text(folder.config, dump(config))
        return folder, self.call(config.launch.num_workers, _work, config.model_dump(mode="json"), str(folder.path))

    def close(self) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            end.close()
            process.kill()
            process.join()


def _work(rank: int, size: int, config: dict[str, Any], folder: str) -> int:
    return work(RunConfig.model_validate(config), LocalContext(World(rank, size), "cpu"), RunFolder(folder))


def _serve(end: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            rank, size, port, function, args = end.recv()
        except EOFError:
            return
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        try:
            end.send(("", function(rank, size, *args)))
        except Exception:
            end.send((traceback.format_exc(), None))
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
