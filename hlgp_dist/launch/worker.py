"""The body of a worker process, the same under every launcher: run, and leave a reason behind on failure."""

from __future__ import annotations

import json
import logging
import os
import platform
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import (
    FAILURES,
    EnvironmentFailure,
    Failure,
    LostWorker,
    OutOfMemory,
    Unreachable,
    describe,
    first_line,
)
from hlgp_dist.files import write_json
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.pulse import Pulse
from hlgp_dist.train.device_memory import is_out_of_memory
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.types import WorkerContext

log = logging.getLogger("hlgp_dist")
LOST_PEER = ("gloo", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")
"""One of these is in what torch says where another rank no longer answers."""
LOST_DEVICE = (
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error",
    "device(s) is/are busy or unavailable",
)
"""CUDA's words for a GPU that has failed, or that another process holds."""
MISUSED = ("Duplicate GPU detected", "invalid usage")
"""NCCL's words for what another attempt would meet again."""
PASSING: dict[str, type[Failure]] = {kind.__name__: kind for kind in (LostWorker, Unreachable)}
"""What the exit code does not tell from a failure that would come again."""


def work(config: RunConfig, context: WorkerContext, folder: RunFolder, channel: Channel | None = None) -> int:
    """Run one rank; the exit code. Its log is RUN/logs/rank-NNN.log, a failure's reason is with its attempt.

    channel: to the launcher, who may be none.
    """
    from hlgp_dist.train.run import run  # brings DeepSpeed, which launchers and drivers do not need

    channel = channel or Channel(folder.logs, 0)
    folder.logs.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder.logs / log_name(context.world.rank))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        host = f"process {os.getpid()} of {platform.node()}"
        rank, size = context.world.rank, context.world.size
        log.info("rank %d of %d on %s, %s", rank, size, context.device, host)
        with Pulse(channel, rank, config.launch.hang_seconds, size) as pulse:
            context.pulse = pulse
            run(config, context, folder)
        return 0
    except Exception as error:
        failure = as_failure(error)
        log.error("%s", traceback.format_exc())
        write_json(channel.reason_of(context.world.rank), {"kind": type(failure).__name__, **failed(failure)})
        return failure.exit_code
    finally:
        log.removeHandler(handler)
        handler.close()


def log_name(rank: int) -> str:
    """Of a rank's log in RUN/logs/."""
    return f"rank-{rank:03d}.log"


def failure_of(channel: Channel) -> Failure | None:
    """What the ranks of an attempt left behind, see `_weight`."""
    records = [json.loads(file.read_text()) for file in channel.left_reasons()]
    failures = [PASSING.get(each["kind"], FAILURES[each["exit_code"]])(each["reason"]) for each in records]
    return min(failures, key=_weight, default=None)


def _weight(failure: Failure) -> tuple[bool, ...]:
    """Less of a documented failure than of an internal one, and the most of one that only tells of another rank's;
    among the documented ones what would come again goes first."""
    is_internal = failure.exit_code == Failure.exit_code
    return isinstance(failure, LostWorker), is_internal, isinstance(failure, Unreachable)


@contextmanager
def outcome_kept(folder: RunFolder) -> Iterator[None]:
    """Whatever ends what is inside leaves its exit code and reason in result.json; a finished result stays."""
    try:
        yield
    except BaseException as error:
        if folder.read_finished() is None:
            with suppress(OSError):  # a full disk must not hide what went wrong
                write_json(folder.result, failed(as_failure(error) if isinstance(error, Exception) else error))
        raise


def as_failure(error: Exception) -> Failure:
    """What an exception means to the user."""
    if isinstance(error, Failure):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"out of memory: {error}; lower engine.micro_batch_size or evaluation.batch_size")
    if isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_DEVICE):
        return LostWorker(f"the GPU of a rank on {platform.node()} is lost: {first_line(error)}")
    if isinstance(error, dist.DistError) and any(words in str(error) for words in MISUSED):
        return EnvironmentFailure(f"NCCL refuses these ranks: {first_line(error)}")
    if isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_PEER)
    ):
        return LostWorker(f"another rank does not answer: {first_line(error)}")
    if isinstance(error, OSError) and error.filename:
        return EnvironmentFailure(describe(error))
    return Failure(f"internal error: {type(error).__name__}: {error}; the traceback is in the run's logs")
