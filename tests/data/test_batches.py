from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlgp_dist.config.schema import Augmentation
from hlgp_dist.data.batches import PREFETCHED_STEPS, evaluation_batches, training_batches
from hlgp_dist.data.crops import crop_boxes
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.picture import as_evaluated
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.prefetch import Work, prefetch
from hlgp_dist.data.transfer import to_device
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import Batch, PictureSize, Regions, World
from tests.pictures import InMemory, noise, of_epoch, ramp

KEY = Key(3, 1, 2)
SETTINGS = {"augmentation": None, "global_batch_size": 8, "accumulation": 2, "loading": Loading()}


def epoch_of_rank(pictures: Pictures, rank: int, world: int, start: int = 0, **options: Any) -> list[list[Batch]]:
    options = SETTINGS | of_epoch(KEY, len(pictures), 8, start) | options
    return list(training_batches(pictures, world=World(rank, world), **options))


def real(batch: Batch) -> torch.Tensor:
    return batch.samples[batch.weights > 0]


@pytest.mark.parametrize("n", [1, 16, 17, 19])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_together_see_the_epoch_once_in_the_order_of_one_rank(n: int, world: int) -> None:
    pictures = ramp(n)
    ranks = [epoch_of_rank(pictures, rank, world) for rank in range(world)]
    (alone,) = [epoch_of_rank(pictures, 0, 1, accumulation=1)]
    assert {len(steps) for steps in ranks} == {-(-n // 8)}
    for step, whole in enumerate(alone):
        shares = [real(ranks[rank][step][micro]) for micro in range(2) for rank in range(world)]
        assert torch.equal(torch.cat(shares), whole[0].samples)
    assert sorted(torch.cat([step[0].samples for step in alone]).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [1, 16, 17, 19])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_engine_that_averages_gets_the_exact_mean(n: int, world: int) -> None:
    pictures = ramp(n)
    losses = torch.rand(n, dtype=torch.float64)
    ranks = [epoch_of_rank(pictures, rank, world) for rank in range(world)]
    for step, (whole,) in enumerate(epoch_of_rank(pictures, 0, 1, accumulation=1)):
        shares = [batch for rank in ranks for batch in rank[step]]
        averaged = sum((batch.weights * losses[batch.samples]).sum() for batch in shares) / len(shares)
        torch.testing.assert_close(averaged, losses[whole.samples].mean(), rtol=1e-6, atol=0.0)


def test_a_batch_holds_what_it_says() -> None:
    pictures = ramp(19)
    for step in epoch_of_rank(pictures, 1, 3):
        for batch in step:
            assert isinstance(batch.images, torch.Tensor)
            assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.samples)
            assert torch.equal(batch.labels, torch.from_numpy(pictures.labels)[batch.samples])
            assert [tensor.dtype for tensor in batch] == [torch.uint8, torch.int64, torch.int64, torch.float32]


@pytest.fixture(scope="module")
def uneven() -> InMemory:
    sides = np.random.default_rng(0).integers(30, 60, (19, 2)).tolist()
    return InMemory(noise(sides), PictureSize(24, 0.8, "bilinear"))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_regions_are_the_boxes_of_the_stored_pictures(uneven: InMemory, workers: int) -> None:
    options = {"augmentation": Augmentation(crop_scale=0.1), "loading": Loading(workers=workers)}
    for batch in (batch for step in epoch_of_rank(uneven, 0, 1, **options) for batch in step):
        samples = batch.samples.numpy()
        boxes = crop_boxes(samples, uneven.shapes[samples], crop_scale=0.1, key=KEY)
        assert isinstance(batch.images, Regions)
        assert batch.images.shapes.tolist() == boxes[:, 2:].tolist()
        parts = [
            uneven[sample][top : top + height, left : left + width].ravel()
            for sample, (top, left, height, width) in zip(samples, boxes, strict=True)
        ]
        assert np.array_equal(batch.images.pixels.numpy(), np.concatenate(parts))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_whole_pictures_are_as_evaluated(uneven: InMemory, workers: int) -> None:
    tested = list(evaluation_batches(uneven, world=World(), batch_size=8, loading=Loading(workers=workers)))
    trained = [batch for step in epoch_of_rank(uneven, 0, 1, loading=Loading(workers=workers)) for batch in step]
    assert [len(batch.labels) for batch in tested] == [8, 8, 3]
    for batch in (*tested, *trained):
        assert isinstance(batch.images, torch.Tensor)
        for image, sample in zip(batch.images, batch.samples.tolist(), strict=True):
            expected = as_evaluated(uneven[sample], uneven.size, uneven.form)
            assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_an_empty_share_is_one_placeholder_of_weight_zero() -> None:
    (step,) = epoch_of_rank(ramp(1), 2, 3)
    assert [batch.weights.tolist() for batch in step] == [[0.0], [0.0]]
    assert [len(batch.labels) for batch in step] == [1, 1]


def test_an_epoch_starts_again_at_any_step() -> None:
    pictures = ramp(19)
    whole, rest = epoch_of_rank(pictures, 0, 2), epoch_of_rank(pictures, 0, 2, start=1)
    assert [b.samples.tolist() for s in whole[1:] for b in s] == [b.samples.tolist() for s in rest for b in s]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_task_is_its_epochs_one_after_the_other(workers: int) -> None:
    pictures, options = ramp(19), SETTINGS | {"augmentation": Augmentation(), "loading": Loading(workers=workers)}
    epochs = [
        batch
        for epoch in range(3)
        for step in training_batches(
            pictures, world=World(), **(options | of_epoch(KEY._replace(epoch=epoch), len(pictures), 8))
        )
        for batch in step
    ]
    options |= {"seed": KEY.seed, "task": KEY.task, "steps": range(1, 8)}
    task = [batch for step in training_batches(pictures, world=World(), **options) for batch in step]
    assert len(task) == 2 * 7
    for ours, theirs in zip(task, epochs[2:16], strict=True):
        assert isinstance(ours.images, Regions) and isinstance(theirs.images, Regions)
        assert torch.equal(ours.samples, theirs.samples)
        assert torch.equal(ours.images.pixels, theirs.images.pixels)


@pytest.mark.parametrize(("n", "world"), [(1, 3), (10, 3), (12, 2), (13, 4)])
def test_evaluation_sees_each_picture_once_and_ranks_yield_equally_often(n: int, world: int) -> None:
    pictures = ramp(n)
    ranks = [
        list(evaluation_batches(pictures, world=World(rank, world), batch_size=2, loading=Loading()))
        for rank in range(world)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    assert torch.cat([real(batch) for batches in ranks for batch in batches]).tolist() == list(range(n))


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_sample_ids_and_shapes_stay_on_the_host(augmentation: Augmentation | None) -> None:
    ((batch,),) = epoch_of_rank(ramp(2), 0, 1, accumulation=1, augmentation=augmentation)
    images, *rest = to_device(batch, "meta")
    assert [tensor.device.type for tensor in rest] == ["meta", "cpu", "meta"]
    if isinstance(images, Regions):
        assert [tensor.device.type for tensor in images] == ["meta", "cpu"]
    else:
        assert images.device.type == "meta"


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_closing_ends_the_threads() -> None:
    options = SETTINGS | of_epoch(KEY, 100, 8) | {"loading": Loading(workers=3)}
    batches = training_batches(ramp(100), world=World(), **options)
    next(batches)
    assert len(prefetch_threads()) == 3
    batches.close()
    assert not prefetch_threads()


def jobs(make: Callable[[int], object], parts: int = 2) -> Callable[[int], Work[int]]:
    """Work whose jobs all do the same, for what they do."""
    return lambda item: Work(item, [lambda: make(item) and None] * parts)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_exception_arrives_in_its_turn_and_ends_the_threads(workers: int) -> None:
    results: Iterator[int] = prefetch(jobs(lambda item: 1 / item), [2, 1, 0, 4], depth=3, workers=workers)
    assert [next(results), next(results)] == [2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not prefetch_threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_work_is_done_ahead_but_bounded(workers: int) -> None:
    made: list[int] = []
    results = prefetch(jobs(made.append), range(100), depth=2, workers=workers)
    next(results)
    deadline = time.monotonic() + 5
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(made) == [0, 0, 1, 1, 2, 2]
    results.close()


def test_without_workers_nothing_is_done_ahead() -> None:
    made: list[int] = []
    results = prefetch(jobs(made.append), range(100), depth=2, workers=0)
    assert [next(results), next(results)] == [0, 1]
    assert made == [0, 0, 1, 1]
    assert not prefetch_threads()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_memory_is_flat_over_twenty_epochs(workers: int) -> None:
    """Each epoch copies 24 MB; what stays is less than the batches under way."""
    pictures = InMemory(noise([(200, 200)] * 40) * 5, PictureSize(160, 1.0, "bilinear"))
    batch_bytes = 32 * 200 * 200 * 3
    held, loading = [], Loading(workers=workers)
    for epoch in range(20):
        options = {"augmentation": Augmentation(crop_scale=0.9), **of_epoch(Key(0, 0, epoch), len(pictures), 32)}
        options |= {"global_batch_size": 32, "accumulation": 1, "loading": loading}
        for _ in training_batches(pictures, world=World(), **options):
            pass
        held.append(resident_bytes())
    assert max(held[4:]) - held[3] < (PREFETCHED_STEPS + 1) * batch_bytes
