"""Which sample goes to which rank at which step: pure functions of integers.

Legend: n samples, W ranks, A accumulation steps (micro-steps a step).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
_UINT32 = 2**32 - 1


def stream_key(*words: int) -> np.random.SeedSequence:
    """Independent random streams for distinct words; each word counts by its low 64 bits."""
    halves = [half for word in words for half in (word & _UINT32, (word >> 32) & _UINT32)]
    return np.random.SeedSequence(halves)


def epoch_order(seed: int, task: int, epoch: int, n: int) -> Indices:
    """A permutation of 0 .. n - 1, the order of an epoch.

    It ranks raw Philox output, which numpy keeps stable for ever, unlike `Generator.permutation`.
    """
    raw = np.random.Philox(stream_key(seed, task, epoch)).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int64)


def steps_per_epoch(n: int, global_batch_size: int) -> int:
    """ceil(n / global batch): the last batch may be smaller, none is dropped."""
    return -(-n // global_batch_size)


class GlobalBatch(NamedTuple):
    """A step's samples over all ranks: `start .. stop - 1` of the order of an epoch."""

    epoch: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def global_batch_of(step: int, n: int, global_batch_size: int) -> GlobalBatch:
    """Of a task's step, counted through its epochs."""
    epoch, within = divmod(step, steps_per_epoch(n, global_batch_size))
    start = within * global_batch_size
    return GlobalBatch(epoch, start, min(start + global_batch_size, n))


def accumulation_steps(global_batch_size: int, world_size: int, micro_batch_size: int | None) -> int:
    """Micro-steps a step, so that no share exceeds `micro_batch_size` (`None`: one micro-step)."""
    assert world_size <= global_batch_size, "the preflight refuses more ranks than samples"
    if micro_batch_size is None:
        return 1
    return -(-global_batch_size // (world_size * micro_batch_size))


def largest_share(global_batch_size: int, world_size: int, micro_batch_size: int | None) -> int:
    """Of a whole batch, in samples of a rank and micro-step."""
    parts = world_size * accumulation_steps(global_batch_size, world_size, micro_batch_size)
    return -(-global_batch_size // parts)


def shares(batch: Indices, rank: int, world_size: int, accumulation: int) -> list[Indices]:
    """Those of a rank, one a micro-step: of W * A contiguous parts of a global batch, W a micro-step.

    Sizes differ by one at most; a smaller last batch may leave shares empty. All ranks' of the first micro-step, then
    of the second and so on, are the batch.
    """
    parts = world_size * accumulation
    return [_part(batch, first + rank, parts) for first in range(0, parts, world_size)]


def _part(batch: Indices, number: int, of: int) -> Indices:
    """As `np.array_split(batch, of)[number]`, without the others: a thousand ranks have thousands."""
    size, larger = divmod(len(batch), of)
    start = number * size + min(number, larger)
    return batch[start : start + size + (number < larger)]


def evaluation_share(n: int, world_size: int) -> list[Indices]:
    """0 .. n - 1 as [W] contiguous shares whose sizes differ by one at most."""
    return np.array_split(np.arange(n, dtype=np.int64), world_size)


def evaluation_chunks(n: int, world_size: int, batch_size: int) -> list[list[Indices]]:
    """Every rank's share as [W][chunks] of at most `batch_size`; equally many chunks a rank, the last maybe empty.

    Equal numbers because under ZeRO stage 3 every forward is a collective.
    """
    chunks = steps_per_epoch(steps_per_epoch(n, world_size), batch_size)
    starts = range(0, chunks * batch_size, batch_size)
    return [[share[start : start + batch_size] for start in starts] for share in evaluation_share(n, world_size)]
