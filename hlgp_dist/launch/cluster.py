"""The Ray cluster a job runs on: joined by address, or a local one that is gone afterwards."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import ray
import torch

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import EnvironmentFailure, Interrupted
from hlgp_dist.launch.local import STOP_SIGNALS
from hlgp_dist.launch.watch import Stop

LOOPBACK = "127.0.0.1"
MEANWHILE_SECONDS = 0.5
UNWANTED_SECONDS = 5.0
GRACE_SECONDS = 120.0
"""For the ranks of a run to checkpoint and leave."""
T = TypeVar("T")


def enter(directory: str) -> None:
    """Relative paths mean on every node what they mean to the launcher, where the node has the folder."""
    if Path(directory).is_dir():
        os.chdir(directory)


def worker_resources(launch: LaunchOptions) -> dict[str, float]:
    """What one DeepSpeed rank reserves. GPUs default to one where the driver sees any."""
    sees_gpus = torch.cuda.is_available() or ray.cluster_resources().get("GPU", 0) > 0
    wanted = launch.gpus_per_worker  # `auto` is a number by the time that it matters: see `packing`
    gpus = float(sees_gpus) if wanted is None or wanted == "auto" else wanted
    resources = {"CPU": float(launch.cpus_per_worker)}
    return resources | {"GPU": gpus} if gpus else resources


class Attended(threading.Thread):
    """A call in a thread of its own, which may be asked to end."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.future: Future[Any] = Future()
        self.is_unwanted = False

    def run(self) -> None:
        try:
            self.future.set_result(self._call())
        except BaseException as error:
            self.future.set_exception(error)


def end_if_unwanted() -> None:
    """For what an attended call does again and again: ends the call once nobody waits for it."""
    thread = threading.current_thread()
    if isinstance(thread, Attended) and thread.is_unwanted:
        sys.exit()


def attended(call: Callable[[], T], meanwhile: Callable[[], None] = lambda: None, stop: Stop | None = None) -> T:
    """What `call()` returns, called in a thread while this one waits for signals and now and then does `meanwhile`.

    On the main thread Ray Tune and Ray Train put in handlers of their own, after which a stopped job looks done.
    stop: the call looks at it and ends by itself; it is given `GRACE_SECONDS`.

    Raises:
        Interrupted: by SIGINT, SIGTERM or SIGUSR1; leaving `ray_cluster` then ends what was called. A thread that
            turns to Ray after that ends the process with no word, so it is given time to end by itself.
        SystemExit: by a second signal, where the first was a request.
    """
    thread = Attended(call)
    handler = _interrupt if stop is None else partial(_request, stop)
    former = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        thread.start()
        result: T = _wait(thread, meanwhile, stop)
        return result
    except (Interrupted, SystemExit):
        thread.is_unwanted = True
        thread.join(UNWANTED_SECONDS)
        raise
    finally:
        for number, former_handler in former.items():
            signal.signal(number, former_handler)


def _wait(thread: Attended, meanwhile: Callable[[], None], stop: Stop | None) -> Any:
    until = math.inf
    while True:
        try:
            return thread.future.result(timeout=MEANWHILE_SECONDS)
        except TimeoutError:
            if thread.future.done():
                raise
        finally:
            meanwhile()
        if stop is not None and stop.requested:
            until = min(until, time.monotonic() + GRACE_SECONDS)
            if time.monotonic() > until:
                stop.at_once = True
                raise Interrupted(f"no checkpoint within {GRACE_SECONDS:.0f} s of a signal; run it again to resume")


def _interrupt(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise Interrupted(f"stopped by {name}; the same command resumes at the last checkpoints")


def _request(stop: Stop, number: int, frame: FrameType | None) -> None:
    stop.heed(number)


def cluster_address(launch: LaunchOptions) -> str | None:
    """Of a cluster that others started; None: this process starts a Ray of its own."""
    return launch.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def ray_cluster(launch: LaunchOptions) -> Iterator[None]:
    """Inside, this process is connected to Ray.

    Raises:
        EnvironmentFailure: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    for name in ("ray.tune", "ray.train"):  # a failed trial stands in our table with its reason, not as a traceback
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = cluster_address(launch)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        else:
            _start_here(launch)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentFailure(f"launch.address: no Ray cluster at {address or 'this machine'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _start_here(launch: LaunchOptions) -> None:
    """A Ray of this process's own, on the loopback address: it works without a network, and nobody else reaches it."""
    if shutil.which("bash") is None:  # by which Ray starts a worker that has an environment of its own
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), os.defpath])
    # Nobody preempts this machine, and each watcher is a process that imports torch.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    cpus = max(usable_cores(), launch.num_workers * launch.cpus_per_worker)
    ray.init(
        address="local",  # without it Ray joins one that somebody started on this machine
        _node_ip_address=LOOPBACK,
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )


def devices_of_run(launch: LaunchOptions) -> float:
    """GPUs that one run holds; where it holds none, its workers."""
    return launch.num_workers * worker_resources(launch).get("GPU", 1.0)
