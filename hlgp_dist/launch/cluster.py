"""The Ray cluster a job runs on: joined by address, or a local one that is gone afterwards."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray
import torch
from ray._private import services

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.launch.stop import Stop
from hlgp_dist.ports import LOOPBACK

JOINING = "while it joined Ray"


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


def cluster_address(launch: LaunchOptions) -> str | None:
    """Of a cluster that others started; None: this process starts a Ray of its own."""
    return launch.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def ray_cluster(launch: LaunchOptions, stop: Stop | None = None) -> Iterator[None]:
    """Inside, this process is connected to Ray.

    Raises:
        EnvironmentFailure: there is no cluster at the address.
        Interrupted: `stop` was requested meanwhile.
    """
    if ray.is_initialized():
        yield
        return
    for name in ("ray.tune", "ray.train"):  # a failed trial stands in our table with its reason, not as a traceback
        logging.getLogger(name).setLevel(logging.CRITICAL)
    stop = stop or Stop()
    with _heeded_at_sigterm(stop):
        _connect(launch)
    try:
        stop.check(JOINING)
        yield
    finally:
        ray.shutdown()


@contextmanager
def _heeded_at_sigterm(stop: Stop) -> Iterator[None]:
    """`ray.init` takes SIGTERM for itself, to end the process with code 15: it still means what it does elsewhere.

    Ray's handler raises SystemExit, which is lost where Python calls it inside of a callback, as of a destructor. So
    the numbers of the signals are looked at, too, which Python writes down before it calls any handler.
    """
    own = signal.getsignal(signal.SIGTERM)
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    except SystemExit:
        if not stop.at_once:
            stop.heed(signal.SIGTERM)
            ray.shutdown()
            stop.check(JOINING)
        raise
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(signal.SIGTERM, own)
        os.close(writing)
        with open(reading, "rb") as written:
            numbers = written.read() or b""
        if signal.SIGTERM in numbers and not stop.requested:
            stop.heed(signal.SIGTERM)


def _connect(launch: LaunchOptions) -> None:
    address = cluster_address(launch)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        else:
            _start_here(launch)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentFailure(f"launch.address: no Ray cluster at {address or 'this machine'}: {error}") from error


def _start_here(launch: LaunchOptions) -> None:
    """A Ray of this process's own, on the loopback address: it works without a network, and nobody else reaches it."""
    if shutil.which("bash") is None:  # by which Ray starts a worker that has an environment of its own
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), os.defpath])
    # Nobody preempts this machine, and each watcher is a process that imports torch.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    cpus = max(usable_cores(), launch.num_workers * launch.cpus_per_worker)
    with _apart():
        ray.init(
            address="local",  # without it Ray joins one that somebody started on this machine
            _node_ip_address=LOOPBACK,
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )


@contextmanager
def _apart() -> Iterator[None]:
    """What Ray starts inside, and all below, is in process groups of its own, and still ends with this process.

    A terminal, `timeout` and some job systems signal a command's whole group; ranks cannot save on a Ray that is gone.
    """
    start = services.ConsolePopen
    services.ConsolePopen = partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start


def devices_of_run(launch: LaunchOptions) -> float:
    """GPUs that one run holds; where it holds none, its workers."""
    return launch.num_workers * worker_resources(launch).get("GPU", 1.0)
