from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hlgp_dist.data.batches import evaluation_batches, to_device, training_batches
from hlgp_dist.data.picture import Form
from hlgp_dist.data.prefetch import prefetch
from hlgp_dist.types import Batch, PictureSize, World


class Drawn:
    """Pictures whose first pixel is their id."""

    size = PictureSize(4, 1.0, "bilinear")
    form: Form = "scaled"

    def __init__(self, n: int) -> None:
        self.labels = np.arange(n, dtype=np.int64) % 5 + 10
        self.shapes = np.full((n, 2), 4, dtype=np.int64)
        self.images = np.zeros((n, 4, 4, 3), dtype=np.uint8)
        self.images[:, 0, 0, 0] = np.arange(n)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> np.ndarray:
        return self.images[sample]


def epoch_of_rank(pictures: Drawn, rank: int, world: int, **options: int) -> list[list[Batch]]:
    settings = {"seed": 3, "task": 1, "epoch": 2, "global_batch_size": 8, "accumulation": 2} | options
    return list(training_batches(pictures, world=World(rank, world), **settings))  # type: ignore[arg-type]


def real(batch: Batch) -> torch.Tensor:
    return batch.samples[batch.weights > 0]


@pytest.mark.parametrize("n", [1, 16, 17, 19])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_together_see_the_epoch_once_in_the_order_of_one_rank(n: int, world: int) -> None:
    pictures = Drawn(n)
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
    pictures = Drawn(n)
    losses = torch.rand(n, dtype=torch.float64)
    ranks = [epoch_of_rank(pictures, rank, world) for rank in range(world)]
    for step, (whole,) in enumerate(epoch_of_rank(pictures, 0, 1, accumulation=1)):
        shares = [batch for rank in ranks for batch in rank[step]]
        averaged = sum((batch.weights * losses[batch.samples]).sum() for batch in shares) / len(shares)
        torch.testing.assert_close(averaged, losses[whole.samples].mean(), rtol=1e-6, atol=0.0)


def test_a_batch_holds_what_it_says() -> None:
    pictures = Drawn(19)
    for step in epoch_of_rank(pictures, 1, 3):
        for batch in step:
            assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.samples)
            assert torch.equal(batch.labels, torch.from_numpy(pictures.labels)[batch.samples])
            assert [tensor.dtype for tensor in batch] == [torch.uint8, torch.int64, torch.int64, torch.float32]


def test_an_empty_share_is_one_placeholder_of_weight_zero() -> None:
    (step,) = epoch_of_rank(Drawn(1), 2, 3)
    assert [batch.weights.tolist() for batch in step] == [[0.0], [0.0]]
    assert [len(batch.images) for batch in step] == [1, 1]


def test_an_epoch_starts_again_at_any_step() -> None:
    pictures = Drawn(19)
    whole, rest = epoch_of_rank(pictures, 0, 2), epoch_of_rank(pictures, 0, 2, start_step=1)
    assert [b.samples.tolist() for s in whole[1:] for b in s] == [b.samples.tolist() for s in rest for b in s]


@pytest.mark.parametrize(("n", "world"), [(1, 3), (10, 3), (12, 2), (13, 4)])
def test_evaluation_sees_each_picture_once_and_ranks_yield_equally_often(n: int, world: int) -> None:
    pictures = Drawn(n)
    ranks = [list(evaluation_batches(pictures, world=World(rank, world), batch_size=2)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert torch.cat([real(batch) for batches in ranks for batch in batches]).tolist() == list(range(n))


def test_sample_ids_stay_on_the_host() -> None:
    ((batch,),) = epoch_of_rank(Drawn(2), 0, 1, accumulation=1)
    moved = to_device(batch, "meta")
    assert [tensor.device.type for tensor in moved] == ["meta", "meta", "cpu", "meta"]


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_closing_ends_the_thread() -> None:
    batches = training_batches(Drawn(100), seed=0, task=0, epoch=0, global_batch_size=2, world=World(), accumulation=1)
    next(batches)
    assert prefetch_threads()
    batches.close()
    assert not prefetch_threads()


def test_an_exception_arrives_in_its_turn_and_ends_the_thread() -> None:
    results: Iterator[float] = prefetch(lambda item: 1 / item, [2, 1, 0, 4], depth=3)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not prefetch_threads()


def test_work_is_done_ahead_but_bounded() -> None:
    made: list[int] = []
    results = prefetch(lambda item: made.append(item), range(100), depth=2)
    next(results)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2]
    results.close()
