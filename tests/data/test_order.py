"""Exact order for any ranks, accumulation and workers, also where they change on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.batches import evaluation_batches, training_batches
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.plan import epoch_order, steps_per_epoch
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import Batch, PictureSize, Regions, World
from tests.pictures import InMemory, noise, of_epoch

MOST = 40
PICTURES = InMemory(noise(np.random.default_rng(0).integers(4, 9, (MOST, 2)).tolist()), PictureSize(4, 1.0, "bilinear"))
"""Each of its own size and pixels."""
WORLDS = st.sampled_from([1, 2, 4])
WORKERS = st.sampled_from([0, 1, 3])
FEW = settings(max_examples=30)


class Plan(NamedTuple):
    """An epoch to be gone through: the first `count` pictures in batches of `batch`."""

    count: int
    batch: int
    key: Key
    augmentation: Augmentation | None

    @property
    def steps(self) -> int:
        return steps_per_epoch(self.count, self.batch)


PLANS = st.builds(
    Plan,
    count=st.integers(1, MOST),
    batch=st.integers(4, 16),
    key=st.builds(Key, st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9)),
    augmentation=st.sampled_from([None, Augmentation(crop_scale=0.2)]),
)


def first(count: int) -> InMemory:
    return InMemory(PICTURES.arrays[:count], PICTURES.size)


class Seen(NamedTuple):
    """The real samples of a step over all ranks, in order: ids, labels, pixels of each."""

    samples: list[int]
    labels: list[int]
    pixels: list[Tensor]

    def same(self, other: Seen) -> bool:
        pixels = zip(self.pixels, other.pixels, strict=True)
        return self[:2] == other[:2] and all(torch.equal(ours, theirs) for ours, theirs in pixels)


def pixels_of(batch: Batch) -> list[Tensor]:
    if isinstance(batch.images, Regions):
        return list(batch.images.pixels.split((3 * batch.images.shapes.prod(1)).tolist()))
    return list(batch.images)


def seen(
    plan: Plan, world: int, accumulation: int, workers: int, start: int = 0, stop: int | None = None
) -> list[Seen]:
    """Steps `start` .. `stop` - 1 of the epoch, gone through by all ranks; every rank has equally many."""
    ranks = []
    for rank in range(world):
        batches = training_batches(
            first(plan.count),
            augmentation=plan.augmentation,
            **of_epoch(plan.key, plan.count, plan.batch, start),
            global_batch_size=plan.batch,
            world=World(rank, world),
            accumulation=accumulation,
            loading=Loading(workers=workers),
        )
        ranks.append(list(batches))
    assert {len(steps) for steps in ranks} == {plan.steps - start}
    together = []
    for shares in list(zip(*ranks, strict=True))[: None if stop is None else stop - start]:
        step = Seen([], [], [])
        for micro_step in zip(*shares, strict=True):
            for batch in micro_step:
                count = int(batch.weights.count_nonzero())
                assert count or len(batch.weights) == 1, "an empty share is one placeholder"
                step.samples.extend(batch.samples[:count].tolist())
                step.labels.extend(batch.labels[:count].tolist())
                step.pixels.extend(pixels_of(batch)[:count])
        together.append(step)
    return together


def assert_same(ours: list[Seen], theirs: list[Seen]) -> None:
    assert all(one.same(other) for one, other in zip(ours, theirs, strict=True))


@FEW
@given(PLANS, WORLDS, st.integers(1, 3), WORKERS)
def test_global_batches_do_not_depend_on_ranks_accumulation_and_workers(
    plan: Plan, world: int, accumulation: int, workers: int
) -> None:
    alone = seen(plan, 1, 1, 0)
    assert_same(seen(plan, world, accumulation, workers), alone)
    order = epoch_order(*plan.key, plan.count).tolist()
    assert [sample for step in alone for sample in step.samples] == order
    assert [len(step.samples) for step in alone[:-1]] == [plan.batch] * (plan.steps - 1)


@FEW
@given(PLANS, WORLDS, st.integers(1, 3), WORKERS)
def test_from_every_step_of_an_epoch_the_rest_is_the_same(
    plan: Plan, world: int, accumulation: int, workers: int
) -> None:
    whole = seen(plan, 1, 1, 0)
    for start in range(plan.steps + 1):
        assert_same(seen(plan, world, accumulation, workers, start), whole[start:])


@FEW
@given(PLANS, st.data())
def test_ranks_may_become_fewer_on_the_way(plan: Plan, data: st.DataObject) -> None:
    """4, then 2, then 1, each with its own accumulation and workers."""
    stops = sorted(data.draw(st.lists(st.integers(0, plan.steps), min_size=2, max_size=2)))
    steps: list[Seen] = []
    for world, (start, stop) in zip((4, 2, 1), pairwise([0, *stops, plan.steps]), strict=True):
        steps += seen(plan, world, data.draw(st.integers(1, 3)), data.draw(WORKERS), start, stop)
    assert_same(steps, seen(plan, 1, 1, 0))


@FEW
@given(st.integers(1, MOST), WORLDS, st.integers(1, 16), WORKERS)
def test_evaluation_covers_each_sample_once(count: int, world: int, batch_size: int, workers: int) -> None:
    pictures = first(count)
    ranks = [
        list(
            evaluation_batches(
                pictures, world=World(rank, world), batch_size=batch_size, loading=Loading(workers=workers)
            )
        )
        for rank in range(world)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    real = [batch.samples[batch.weights > 0] for batches in ranks for batch in batches]
    assert torch.cat(real).tolist() == list(range(count))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_share_may_be_empty_on_three_of_four_ranks(workers: int) -> None:
    (step,) = seen(Plan(1, 8, Key(0, 0, 0), Augmentation()), 4, 3, workers)
    assert step.samples == [0]
