"""The memory of one rank, part by part: what stays, and what a step or a test adds to it at its most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.engine.options import LIVE, state_keys
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train.estimate.costs import Shapes, TaskCost, bytes_of
from hlgp_dist.train.estimate.kernels import Device

PROCESS = {"cuda": 2**30, "cpu": 0}
"""Bytes, assumed: a CUDA context, cuBLAS's workspaces and NCCL's buffers, which torch's allocator does not see."""
Parts = dict[str, int]


@dataclass(frozen=True)
class RankMemory:
    """Bytes by part at the peak of training and of evaluation; training is empty where nothing takes gradients."""

    training: Parts
    evaluation: Parts

    @property
    def peak(self) -> int:
        """Of the two."""
        return max(sum(self.training.values()), sum(self.evaluation.values()))


def rank_memory(
    config: RunConfig, trunk: Trunk, costs: Sequence[TaskCost], shapes: Shapes, ranks: int, device: Device
) -> RankMemory:
    """At the task that needs most. shapes: of what a micro-step sees of its pictures."""
    found = [_of_task(config, trunk, cost, shapes, ranks, device) for cost in costs]
    training, evaluation = zip(*found, strict=True)
    return RankMemory(*(max(parts, key=lambda each: sum(each.values())) for parts in (training, evaluation)))


def _of_task(
    config: RunConfig, trunk: Trunk, cost: TaskCost, shapes: Shapes, ranks: int, device: Device
) -> tuple[Parts, Parts]:
    staying = _staying(config, trunk, cost, ranks) | {"process (assumed)": PROCESS[device]}
    values = 3 * trunk.input_format.size.size**2
    closing = cost.trained if config.engine.zero_stage == 3 else 0  # where a task ends every rank has it whole
    tested = max(cost.test.peak, cost.oracle.peak, cost.end.peak, cost.alignment.peak, closing)
    evaluation = staying | {"batch": 5 * values * cost.test.pictures, "activations and workspace": tested}
    if not cost.step.pictures:
        return {}, evaluation
    floats, regions = 4 * values * cost.step.pictures, int(3 * shapes.prod(1).sum())
    transient = max(floats + cost.step.peak, cost.drawing.peak)
    workspace = transient - floats - cost.step.saved
    moving = {"batch": floats + regions, "activations saved": cost.step.saved, "workspace": workspace}
    return staying | _buffers(config, cost) | moving, evaluation


def _staying(config: RunConfig, trunk: Trunk, cost: TaskCost, ranks: int) -> Parts:
    """From step to step, and through a test."""
    stage = config.engine.zero_stage if cost.step.pictures else 0
    weights = 0 if trunk.is_trained else bytes_of(chain(trunk.parameters(), trunk.vit.buffers()))
    trained = cost.trained if cost.step.pictures else 0
    state, gradients, parameters = optimizer_bytes(config, trained, ranks), trained, cost.trained
    if stage >= 2:
        gradients //= ranks
    if stage == 3:
        weights, parameters = (_divided(each, ranks) for each in (weights, parameters))
    return {
        "trunk, frozen": weights,
        "prompts and head" if not trunk.is_trained else "trunk and head": parameters,
        "gradients": gradients,
        "optimizer state": state,
        "earlier tasks' prompts, statistics": cost.memory,
    }


def optimizer_bytes(config: RunConfig, trained: int, ranks: int) -> int:
    """Of a rank's state, where so many bytes train; with ZeRO its part alone, and a copy of that of the parameters."""
    state = len(state_keys(config.optimizer)) * trained
    return (state + trained) // ranks if config.engine.zero_stage else state


def _divided(whole: int, ranks: int) -> int:
    """A rank's part, and what it has gathered: everything, up to so many numbers of two bytes at least."""
    return whole if ranks == 1 else whole // ranks + min(whole, 2 * LIVE)


def _buffers(config: RunConfig, cost: TaskCost) -> Parts:
    bucket = bucket_bytes(config, cost.trained)
    return {"ZeRO's bucket": bucket} if bucket else {}


def bucket_bytes(config: RunConfig, trained: int) -> int:
    """What ZeRO gathers gradients in."""
    return trained if config.engine.zero_stage else 0
