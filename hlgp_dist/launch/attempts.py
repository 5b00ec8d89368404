"""Whether a run that failed is tried again, and how: a pure function of what failed so far. And the record of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from hlgp_dist.config.load import apply
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.plan import largest_share
from hlgp_dist.errors import EnvironmentFailure, Failure, LostWorker, OutOfMemory, Unreachable
from hlgp_dist.train.folder import RunFolder

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 120.0
"""Before a retry; doubled as long as nothing new is saved."""
PASSING = (LostWorker, Unreachable)
"""What another attempt at the last checkpoint may be spared."""


@dataclass(frozen=True)
class Ended:
    """An attempt that failed; has_saved: whether it wrote a checkpoint further on than those there were."""

    failure: Failure
    has_saved: bool = False


class Retry(NamedTuple):
    """What changes, by dotted key, and how long to wait before."""

    changes: dict[str, Any]
    seconds: float


def retry_after(config: RunConfig, ended: Sequence[Ended]) -> Retry | None:
    """The attempt to follow those that `ended` under `config`, None where none is to."""
    last = ended[-1].failure
    if isinstance(last, PASSING):
        fruitless = retries_in_row(ended)
        if fruitless >= config.launch.max_retries:
            return None
        return Retry({}, min(FIRST_SECONDS * 2**fruitless, LONGEST_SECONDS))
    if isinstance(last, OutOfMemory) and not any(isinstance(one.failure, OutOfMemory) for one in ended[:-1]):
        changes = smaller_batches(config)
        return Retry(changes, 0.0) if changes else None
    return None


def retries_in_row(ended: Sequence[Ended]) -> int:
    """How many retries have come to nothing since the last new checkpoint."""
    return sum(1 for _ in takewhile(lambda one: not one.has_saved, reversed(ended[1:])))


def smaller_batches(config: RunConfig) -> dict[str, int | str]:
    """Half of what goes through the model at a time, as far as there are halves; what is computed stays."""
    changes: dict[str, int | str] = {}
    if config.engine.checkpoint_blocks == "auto":  # the ranks did not come to measuring
        changes["engine.checkpoint_blocks"] = "all"
    if config.method.takes_gradients and (micro := micro_batch_size(config)) > 1:
        changes["engine.micro_batch_size"] = micro // 2
    if config.evaluation.batch_size > 1:
        changes["evaluation.batch_size"] = config.evaluation.batch_size // 2
    return changes


def micro_batch_size(config: RunConfig) -> int:
    """The largest share of a rank, given or derived."""
    bound = config.engine.known_micro_batch
    return largest_share(config.train.global_batch_size, config.launch.num_workers, bound)


def as_found(config: RunConfig, folder: RunFolder) -> RunConfig:
    """With what the ranks last found `engine.micro_batch_size: auto` to be, if they came to it."""
    found = folder.read_batch_sizes()
    if config.engine.micro_batch_size != "auto" or found is None:
        return config
    return apply(config, found["values"])


def final_failure(config: RunConfig, ended: Sequence[Ended]) -> Failure:
    """What the run fails by, after the last attempt."""
    last = ended[-1].failure
    if isinstance(last, PASSING) and config.launch.max_retries > 0:
        retries, kind = config.launch.max_retries, EnvironmentFailure if isinstance(last, Unreachable) else Failure
        return kind(f"retries exhausted: launch.max_retries={retries} in a row saved nothing new; the last: {last}")
    return last


def note_attempt(folder: RunFolder, record: dict[str, Any]) -> None:
    """One more line of RUN/logs/attempts.jsonl."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    with open(folder.attempts, "a") as file:
        file.write(json.dumps(record) + "\n")
