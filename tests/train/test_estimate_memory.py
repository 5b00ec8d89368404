"""Memory: what a trace on `meta` foresees, against torch's allocator under real steps on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hlgp_dist.bench.stepping.profile import most_allocated
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk, meta_trunk
from hlgp_dist.train.estimate.costs import TaskCost, task_costs
from hlgp_dist.train.estimate.memory import rank_memory
from hlgp_dist.train.estimate.shapes import result_of
from hlgp_dist.train.estimate.trace import Trace
from hlgp_dist.train.footprint import NoPictures
from hlgp_dist.train.learner import Learner
from tests.train.test_estimate_flops import TASKS, configured

BATCH = 8
WITHIN = 0.05
"""Of what is allocated; docs/plan.md has larger models."""
SMALL = {"name": "vit_tiny_patch16_224", "weights": "none", "img_size": 96, "kwargs": {"depth": 3}}


def allocated(call: Callable[[], None]) -> int:
    """The most bytes at once, beyond those from before, without oneDNN's copies of operands."""
    with torch.backends.mkldnn.flags(enabled=False):
        call()
        return most_allocated(call)


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("hlgp", "bf16"),
        ("hlgp method.insertion=tokens", "fp32"),
        ("coda method.num_components=3 method.layers=[0,2]", "fp32"),
        ("l2p", "bf16"),
        ("hlgp engine.checkpoint_blocks=all", "bf16"),
        ("hlgp engine.checkpoint_blocks=all method.layers=[1,2] method.num_groups=2", "fp32"),
        ("full engine.checkpoint_blocks=all", "fp32"),
        ("full", "fp32"),  # autocast on a CPU has other rules than on a GPU, which a plan follows
    ],
)
def test_a_steps_peak_is_foreseen(method: str, precision: str) -> None:
    kind, *options = method.split()
    config = configured(f"method.kind={kind}", *options, f"engine.precision={precision}", **SMALL)
    trunk, _ = build_trunk(config.backbone, precision=precision, seed=0, trained=config.method.trains_trunk)
    trunk.recompute_blocks(config.engine.checkpoint_blocks == "all")
    normalised = trunk.normalisation.forward  # by a GPU's way: on a CPU it writes into pages that stay
    trunk.normalisation.forward = lambda images, dtype, is_kept: normalised(images, dtype, is_kept=True)
    setting = Setting(trunk.dimensions, TASKS, 0)
    learner = Learner(trunk, build_method(config.method, setting))
    learner.begin_task(TASKS[0])
    learner.eval()
    with torch.no_grad():
        learner.method.end_task(trunk, NoPictures(len(TASKS[0].classes)))
    learner.begin_task(TASKS[1])
    learner.train()
    images = torch.rand(BATCH, 3, 96, 96)

    def step() -> None:
        learner(images, torch.full((BATCH,), TASKS[1].start), torch.ones(BATCH))[0].backward()
        learner.zero_grad()

    planned = task_costs(config, setting, (np.full((BATCH, 2), 96), BATCH), "cpu")[1]
    assert planned.step.peak == pytest.approx(allocated(step), rel=WITHIN)


def test_only_what_is_made_inside_counts_and_only_while_it_lives() -> None:
    with torch.device("meta"), torch.no_grad():
        outside = torch.empty(1024)
        with Trace() as trace:
            made = outside.view(32, 32) + 1.0
            assert (trace.live, trace.peak, trace.kernels) == (4096, 4096, 1)
            half = made[:16]
            del made
            assert trace.live == 4096, "a view keeps all of it"
            del half
            assert trace.live == 0
            torch.empty(1)
    assert trace.peak == 4096
    assert trace.live == 0


def planned_parts(*overrides: str, ranks: int = 1) -> tuple[dict[str, int], dict[str, int], TaskCost]:
    config = configured(*overrides, **SMALL)
    trunk = meta_trunk(config.backbone, precision=config.engine.precision, trained=config.method.trains_trunk)
    shapes = np.full((BATCH, 2), 96)
    costs = task_costs(config, Setting(trunk.dimensions, TASKS, 0), (shapes, BATCH), "cuda")
    memory = rank_memory(config, trunk, costs, shapes, ranks, "cuda")
    return memory.training, memory.evaluation, costs[-1]


def test_the_parts_of_a_rank() -> None:
    training, evaluation, last = planned_parts()
    assert training["optimizer state"] == 2 * training["gradients"] == 2 * training["prompts and head"]
    assert training["activations saved"] == last.step.saved
    assert evaluation["batch"] == BATCH * 3 * 96 * 96 * 5
    assert sum(training.values()) > sum(evaluation.values())
    low = planned_parts("engine.precision=bf16")[0]
    assert 2 * low["trunk, frozen"] == training["trunk, frozen"]
    assert low["activations saved"] < 0.7 * training["activations saved"]


def test_zero_divides_what_it_divides_and_takes_its_bucket() -> None:
    plain, divided = planned_parts(ranks=4)[0], planned_parts("engine.zero_stage=2", ranks=4)[0]
    assert "ZeRO's bucket" not in plain and divided["ZeRO's bucket"] == plain["gradients"]
    assert 4 * divided["gradients"] == pytest.approx(plain["gradients"], abs=4)
    assert 4 * divided["optimizer state"] == pytest.approx(1.5 * plain["optimizer state"], abs=4)


def test_without_gradients_there_is_no_step() -> None:
    training, evaluation, last = planned_parts("method.kind=ranpac", "method.projection_width=500")
    assert training == {} and last.step.pictures == 0
    assert evaluation["activations and workspace"] > 8 * 500**2, "a Gram matrix in double precision is solved"


def test_full_fine_tuning_trains_the_trunk() -> None:
    training = planned_parts("method.kind=full")[0]
    assert training["trunk, frozen"] == 0
    assert training["gradients"] == training["trunk and head"] > 4 * 10**6


def test_under_zero_3_what_trains_is_whole_where_a_task_ends() -> None:
    _, evaluation, last = planned_parts("method.kind=full", "engine.zero_stage=3", ranks=4)
    assert evaluation["activations and workspace"] >= last.trained > last.test.peak


def test_results_are_remembered_and_views_stay_views() -> None:
    aten = torch.ops.aten
    with torch.device("meta"), torch.no_grad():
        square = torch.empty(4, 4)
        first, second = (result_of(aten.mm.default, (square, square), {}) for _ in range(2))
        assert first.shape == second.shape and first.untyped_storage()._cdata != second.untyped_storage()._cdata
        for view in (aten.view.default, aten._unsafe_view.default):
            for _ in range(2):
                flat = result_of(view, (square, [16]), {})
                assert flat.untyped_storage()._cdata == square.untyped_storage()._cdata
        assert result_of(aten.add_.Tensor, (square, 1.0), {}) is square
        assert result_of(aten.sum.dim_IntList, (square, [1]), {"keepdim": True}).shape == (4, 1)
        assert result_of(aten.sum.dim_IntList, (square, [1]), {"keepdim": False}).shape == (4,)
        assert result_of(aten.sum.dim_IntList, (square.double(), [1]), {"keepdim": False}).dtype == torch.float64
