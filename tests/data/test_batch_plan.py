from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlgp_dist.data.plan import (
    accumulation_steps,
    epoch_order,
    evaluation_chunks,
    global_batch_of,
    shares,
    steps_per_epoch,
)

COUNTS = st.integers(1, 200)
GOLDEN_ORDER = [7, 6, 3, 2, 4, 1, 5, 0]  # a change here breaks every resumed run
RANKS = st.integers(1, 9)


@given(st.integers(-(2**40), 2**40), st.integers(0, 50), st.integers(0, 50), COUNTS)
def test_an_order_is_a_permutation_of_its_own(seed: int, task: int, epoch: int, n: int) -> None:
    order = epoch_order(seed, task, epoch, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, epoch_order(seed, task, epoch, n))


def test_orders_differ_and_never_change() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32, 0, 0)]
    assert len({tuple(epoch_order(*key, 50)) for key in keys}) == len(keys)
    assert epoch_order(0, 0, 0, 8).tolist() == GOLDEN_ORDER


@given(COUNTS, st.integers(1, 64), RANKS, st.integers(1, 6))
def test_an_epoch_over_ranks_is_exactly_its_order(n: int, global_batch: int, world: int, accumulation: int) -> None:
    order = epoch_order(0, 0, 0, n)
    seen = []
    per_epoch = steps_per_epoch(n, global_batch)
    for step in range(per_epoch):
        batch = global_batch_of(step, n, global_batch)
        assert batch.epoch == 0 and batch == global_batch_of(step + 2 * per_epoch, n, global_batch)._replace(epoch=0)
        samples = order[batch.start : batch.stop]
        parts = list(zip(*(shares(samples, rank, world, accumulation) for rank in range(world)), strict=True))
        assert sum(len(part) for row in parts for part in row) == batch.size <= global_batch
        assert len(parts) == accumulation
        sizes = [len(part) for row in parts for part in row]
        assert max(sizes) - min(sizes) <= 1
        seen += [part for row in parts for part in row]
    assert np.array_equal(np.concatenate(seen), order)


@given(st.integers(1, 300), RANKS, st.integers(1, 40))
def test_accumulation_bounds_every_share(global_batch: int, world: int, micro: int) -> None:
    if world > global_batch:
        with pytest.raises(AssertionError, match="more ranks than samples"):
            accumulation_steps(global_batch, world, micro)
        return
    accumulation = accumulation_steps(global_batch, world, micro)
    batch = np.arange(global_batch)
    sizes = [len(part) for rank in range(world) for part in shares(batch, rank, world, accumulation)]
    assert max(sizes) <= micro
    assert accumulation == 1 or (accumulation - 1) * world * micro < global_batch
    assert accumulation_steps(global_batch, world, None) == 1


@given(COUNTS, RANKS, st.integers(1, 40))
def test_evaluation_sees_each_sample_once_in_equally_many_chunks(n: int, world: int, batch: int) -> None:
    chunks = evaluation_chunks(n, world, batch)
    assert len(chunks) == world
    assert len({len(own) for own in chunks}) == 1
    assert all(len(chunk) <= batch for own in chunks for chunk in own)
    assert any(len(own[-1]) for own in chunks)
    assert np.array_equal(np.concatenate([chunk for own in chunks for chunk in own]), np.arange(n))
