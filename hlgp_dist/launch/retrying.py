"""A run's attempts, one after the other, under any launcher."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from hlgp_dist.config.load import apply
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import Failure, Interrupted, Preempted
from hlgp_dist.launch.attempts import Ended, as_found, final_failure, micro_batch_size, note_attempt, retry_after
from hlgp_dist.launch.channel import Channel, next_number
from hlgp_dist.launch.prepare import open_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.train.checkpoint import newest_place
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.result import failed

log = logging.getLogger("hlgp_dist")

Attempt = Callable[[RunConfig, Channel], None]
"""Runs all ranks to their end, or raises what the attempt failed by."""
Room = Callable[[RunConfig], int]
"""How many workers the next attempt gets; may wait for them. Raises EnvironmentFailure where there are none."""


def all_of_them(config: RunConfig) -> int:
    """On one machine nothing but processes gets lost."""
    return config.launch.num_workers


def run_attempts(
    config: RunConfig, folder: RunFolder, attempt: Attempt, *, stop: Stop, room: Room = all_of_them
) -> None:
    """Until one ends well, the user stops it, or there is no use in another.

    Raises:
        Failure: of the last attempt; `retries exhausted` where workers were lost again and again.
    """
    ended: list[Ended] = []
    present = config
    stop.check("before the run began")
    while (end := _one(present, folder, attempt, stop)) is not None:
        ended.append(end)
        retry = retry_after(as_found(present, folder), ended)
        if stop.requested:
            raise end.failure
        if retry is None:
            raise final_failure(present, ended) from end.failure
        log.warning("attempt failed, the next goes on at the last checkpoint: %s", end.failure)
        stop.nap(retry.seconds)
        stop.check("between two attempts")
        present = apply(present, retry.changes)
        present = apply(present, {"launch.num_workers": room(present)})
        open_run(present, folder)


def _one(config: RunConfig, folder: RunFolder, attempt: Attempt, stop: Stop) -> Ended | None:
    """Run an attempt and write down how it ended; None if well."""
    number, before = next_number(folder.logs), newest_place(folder.checkpoints)
    record = {
        "attempt": number,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "workers": config.launch.num_workers,
    }
    began = time.monotonic()
    outcome: dict[str, object] = {"failure": None, "exit_code": 0, "reason": "done"}
    try:
        attempt(config, Channel(folder.logs, number, folder.keeper.delay))
        return None
    except Failure as error:
        failure = _as_seen(error, stop)
        folder.keeper.refresh()
        outcome = {"failure": type(failure).__name__, **failed(failure)}
        return Ended(failure, newest_place(folder.checkpoints) > before)
    except BaseException as error:
        outcome = {"failure": type(error).__name__, **failed(error)}
        raise
    finally:
        with suppress(OSError):  # a full disk must not hide what went wrong
            found = as_found(config, folder)
            record["micro_batch_size"] = micro_batch_size(found) if config.method.takes_gradients else None
            note_attempt(folder, record | {"seconds": round(time.monotonic() - began, 1)} | outcome)


def _as_seen(failure: Failure, stop: Stop) -> Failure:
    """Ranks do not know who told them to leave: if not the user, their host is about to go."""
    if isinstance(failure, Interrupted) and not stop.requested:
        return Preempted(f"a rank was told to go: {failure}")
    return failure
