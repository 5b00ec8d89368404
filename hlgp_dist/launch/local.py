"""A run in local processes: one a rank, watched, and ended together."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import TextIO

import torch

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import EnvironmentFailure, Failure, LostWorker, OutOfMemory
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.retrying import run_attempts
from hlgp_dist.launch.stop import STOP_SIGNALS, Stop
from hlgp_dist.launch.watch import Watch
from hlgp_dist.launch.worker import failure_of, work
from hlgp_dist.ports import LOOPBACK, free_port
from hlgp_dist.train import host_memory
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import Pulse, World

NOTICE_SECONDS = 20.0
"""How long the other ranks may take to notice that one has left, before they are killed."""
LOOK_SECONDS = 10.0
"""How long before a rank was killed the kernel may have ended a process for want of memory, for that to be the rank."""
SENT_SIGNALS = (*STOP_SIGNALS, signal.SIGKILL, signal.SIGXCPU)
"""Come from outside, and not from what a process did itself."""


class LocalContext:
    """A rank among local processes. SIGTERM asks it to checkpoint and leave.

    The others are the launcher's, which a terminal or a job system sends to every process: it tells the ranks.
    """

    pulse: Pulse

    def __init__(self, world: World, device: str) -> None:
        self.world = world
        self.device = device
        self.screen: TextIO = sys.stderr
        self._stop = False
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def report(self, metrics: Mapping[str, float]) -> None:
        """Nobody schedules a local run."""

    def stop_requested(self) -> bool:
        return self._stop or self.pulse.stop_requested


def run_local(config: RunConfig, folder: RunFolder, stop: Stop) -> None:
    """Run `launch.num_workers` ranks to their end, again where one is lost.

    Raises:
        EnvironmentFailure: there are fewer GPUs than ranks.
        Failure: of the kind and with the reason of the first rank that failed.
        Interrupted: `stop` was requested, and the ranks have saved.
    """
    if config.launch.num_workers > torch.cuda.device_count() > 0:
        raise EnvironmentFailure(
            f"launch.num_workers: {config.launch.num_workers} ranks on {torch.cuda.device_count()} GPUs; "
            "hide them with CUDA_VISIBLE_DEVICES= to run on the CPU"
        )
    run_attempts(config, folder, partial(_run_ranks, folder=folder, stop=stop), stop=stop)


def _run_ranks(config: RunConfig, channel: Channel, *, folder: RunFolder, stop: Stop) -> None:
    """One attempt."""
    port, size = free_port(), config.launch.num_workers
    spawn = multiprocessing.get_context("spawn")
    plain = config.model_dump(mode="json")
    ranks = [spawn.Process(target=_rank_main, args=(plain, folder.path, rank, port, channel)) for rank in range(size)]
    with Watch(channel, size, config.launch.hang_seconds, stop, end=partial(_kill, ranks)) as watch:
        try:
            with _signals_held_back():
                for process in ranks:
                    process.start()
            _watch(ranks, channel)
        except Failure as failure:
            raise watch.hang or failure from failure
        finally:
            _kill(ranks)
            for process in ranks:
                if process.pid is not None:
                    process.join()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """What is started inside gets them once it lets them through, with its handlers up: a terminal's ^C goes to all
    processes, also to ranks that still import. This process gets its own when this is left."""
    resource_tracker.ensure_running()  # would let them through, were it started in between
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(ranks: list[SpawnProcess]) -> None:
    for process in ranks:
        if process.is_alive():
            process.kill()


def _watch(ranks: list[SpawnProcess], channel: Channel) -> None:
    """Wait for all ranks; when one fails give the others a moment, then raise what the first failure was."""
    waiting, kills_before = list(ranks), host_memory.oom_kills()
    while waiting:
        while not multiprocessing.connection.wait([process.sentinel for process in waiting], LOOK_SECONDS):
            kills_before = host_memory.oom_kills()
        ended = [process for process in waiting if process.exitcode is not None]
        waiting = [process for process in waiting if process not in ended]  # asked once: one may end in between
        if any(process.exitcode for process in ended):
            _wait(waiting, NOTICE_SECONDS)
            exit_codes = [process.exitcode or 0 for process in ranks]
            worst = min(exit_codes) or max(exit_codes)  # a rank that was killed (negative) made the others fail
            is_starved = host_memory.oom_kills() > kills_before
            by_nccl = worst == -signal.SIGABRT and len(ranks) > 1 and torch.cuda.is_available()
            raise _failure_of(exit_codes.index(worst), worst, channel, is_starved=is_starved, by_nccl=by_nccl)


def _wait(ranks: list[SpawnProcess], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))


def _failure_of(rank: int, exit_code: int, channel: Channel, *, is_starved: bool, by_nccl: bool) -> Failure:
    """A documented reason that any rank left, else what ended this one: a signal from outside, or a crash.

    is_starved: just now the kernel has ended a process for want of memory; by_nccl: its watchdog may have ended the
    rank, since another one no longer answers.
    """
    left = failure_of(channel)
    says_why = left is not None and left.exit_code != Failure.exit_code and not isinstance(left, LostWorker)
    if exit_code >= 0 or (left is not None and says_why):
        return left or Failure(f"rank {rank} ended with exit code {exit_code}; see {channel.logs}")
    name = signal.Signals(-exit_code).name
    if -exit_code == signal.SIGKILL and is_starved:
        return OutOfMemory(
            f"out of memory: the kernel ended rank {rank}; "
            "lower engine.micro_batch_size, evaluation.batch_size or launch.num_workers"
        )
    if by_nccl:
        lost = f"rank {rank} was ended by {name}, as by NCCL's watchdog where another rank no longer answers; "
        return left or LostWorker(f"{lost}see {channel.logs}")
    if -exit_code in SENT_SIGNALS:
        return LostWorker(f"rank {rank} was killed by {name}; the same command resumes at the last checkpoint")
    return Failure(f"rank {rank} crashed with {name}; see {channel.logs}")


def _rank_main(config: dict[str, object], folder: Path, rank: int, port: int, channel: Channel) -> None:
    _die_with_parent()
    resolved = RunConfig.model_validate(config)
    size = resolved.launch.num_workers
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port)}
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))  # the ranks share the cores
    device = f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(rank)
    context = LocalContext(World(rank, size, host_size=size), device)
    code = work(resolved, context, RunFolder(folder), channel)
    if code and device != "cpu":
        sys.stderr.flush()
        os._exit(code)  # else the interpreter's end would wait for the other ranks, see `process_group`
    raise SystemExit(code)


def _die_with_parent() -> None:
    """On Linux a rank does not outlive its launcher, even one that was killed outright, or already is."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)
    launcher = multiprocessing.parent_process()
    if launcher is not None and not launcher.is_alive():
        raise SystemExit(1)
