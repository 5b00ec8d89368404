"""What a step costs beside its arithmetic: bytes between ranks, and looks of the host at values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hlgp_dist.config import hlgp_options, optimizer_options, schema
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.engine.deepspeed import DeepSpeedEngine
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec
from tests.ranks import Ranks

TASKS = (TaskSpec(0, 0, ("a", "b")), TaskSpec(1, 2, ("c", "d", "e")))
LOOKS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal, torch.ops.aten.lift_fresh)
"""By which a host learns a value, and hence waits for its device; the last one sends a value, and waits as well."""


class Looks(TorchDispatchMode):
    """How often inside, at tensors other than `known`."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()
        self.known = known

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in LOOKS and args[0].data_ptr() not in self.known:
            self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def one_step(rank: int, size: int, max_grad_norm: float | None) -> tuple[int, int, dict[str, int]]:
    """Bytes summed over the ranks in a step of the second task, bytes that it trains, looks."""
    init_process_group("cpu", 60)
    trunk, _ = build_trunk(TINY, precision="fp32", seed=0)
    learner = Learner(trunk, build_method(hlgp_options.Hlgp(), Setting(trunk.dimensions, TASKS, 0)))
    learner.begin_task(TASKS[0])
    learner.method.end_task(trunk, None)  # type: ignore[arg-type]  # it asks for no statistics
    learner.begin_task(TASKS[1])
    learner.train()
    engine = DeepSpeedEngine(
        learner,
        learner.trained_parameters(),
        kept=learner.method.parameters(),
        optimizer=optimizer_options.Adam(max_grad_norm=max_grad_norm),
        options=schema.EngineOptions(),
        accumulation=1,
    )
    summed, all_reduce = [0], dist.all_reduce

    def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        summed[0] += tensor.numel() * tensor.element_size()
        return all_reduce(tensor, *args, **kwargs)

    batch = torch.rand(4, 3, 32, 32), torch.tensor([2, 3, 4, 2]), torch.full((4,), 0.25)

    def step() -> None:
        loss, _right = engine(*batch)
        engine.backward(loss)
        engine.step({"prompt": 0.01, "head": 0.01})

    waits = mock.patch.object(type(get_accelerator()), "synchronize", lambda *args: looks.seen.update(["synchronize"]))
    step()
    step()
    step()  # DeepSpeed's timer begins after two
    counts = {state["step"].data_ptr() for state in engine._engine.optimizer.state.values()}  # on the host anywhere
    with mock.patch("torch.distributed.all_reduce", counted), Looks(counts) as looks, waits:
        step()
    trained = sum(4 * parameter.numel() for group in learner.trained_parameters().values() for parameter in group)
    engine.close()
    close_process_group()
    return summed[0], trained, dict(looks.seen)


@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_a_step_moves_what_it_trains_and_waits_for_nothing(max_grad_norm: float | None, ranks: Ranks) -> None:
    for summed, trained, looks in ranks.call(2, one_step, max_grad_norm):
        assert summed == trained
        assert looks == {}
