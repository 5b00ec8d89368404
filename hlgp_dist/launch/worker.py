"""The body of a worker process, the same under every launcher: run, and leave a reason behind on failure."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import FAILURES, EnvironmentFailure, Failure, OutOfMemory, describe
from hlgp_dist.files import write_json
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.train.run import run
from hlgp_dist.types import WorkerContext

log = logging.getLogger("hlgp_dist")


def work(config: RunConfig, context: WorkerContext, folder: RunFolder) -> int:
    """Run one rank; the exit code. Its log is RUN/logs/rank-NNN.log, a failure's reason beside it."""
    rank = f"rank-{context.world.rank:03d}"
    folder.logs.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder.logs / f"{rank}.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        log.info("rank %d of %d on %s", context.world.rank, context.world.size, context.device)
        run(config, context, folder)
        return 0
    except Exception as error:
        failure = as_failure(error)
        log.error("%s", traceback.format_exc())
        write_json(_reason_file(folder, context.world.rank), failed(failure))
        return failure.exit_code
    finally:
        log.removeHandler(handler)
        handler.close()


def _reason_file(folder: RunFolder, rank: int) -> Path:
    return folder.logs / f"rank-{rank:03d}.failure.json"


def forget_failures(folder: RunFolder) -> None:
    """Before a new attempt."""
    for file in folder.logs.glob("rank-*.failure.json"):
        file.unlink()


def failure_of(folder: RunFolder) -> Failure | None:
    """What the ranks of the last attempt left behind: a documented failure before an internal one."""
    records = [json.loads(file.read_text()) for file in sorted(folder.logs.glob("rank-*.failure.json"))]
    records.sort(key=lambda record: record["exit_code"] == Failure.exit_code)
    return FAILURES[records[0]["exit_code"]](records[0]["reason"]) if records else None


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
    on_host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if on_host or isinstance(error, torch.OutOfMemoryError | MemoryError):
        return OutOfMemory(f"out of memory: {error}; lower engine.micro_batch_size or evaluation.batch_size")
    if isinstance(error, OSError) and error.filename:
        return EnvironmentFailure(describe(error))
    return Failure(f"internal error: {type(error).__name__}: {error}; the traceback is in the run's logs")
