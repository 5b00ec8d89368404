"""A training step's memory part by part, beside what a plan foresees of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from hlgp_dist.bench.stepping.profile import most_allocated
from hlgp_dist.bench.stepping.stepper import Stepper
from hlgp_dist.train.device_memory import DeviceMemory
from hlgp_dist.train.estimate.kernels import Device
from hlgp_dist.train.estimate.memory import Parts

SAVED, PEAK = "activations saved", "activations and workspace at the peak"


def measured_parts(stepper: Stepper, device: str) -> Parts:
    """Bytes by the names of `hlgp plan`'s: of the tensors' storages, of what autograd keeps of a forward pass, and the
    most that torch's allocator holds in a step beyond what it held before; on a GPU the batch, too.
    """
    learner, engine = stepper.learner, stepper.engine
    assert engine is not None
    trained = [parameter for group in learner.trained_parameters().values() for parameter in group]
    frozen = [] if learner.trunk.is_trained else [*learner.trunk.parameters(), *learner.trunk.vit.buffers()]
    stepper.train_step()
    others = _storages(chain(learner.parameters(), learner.buffers())).keys() - _storages(chain(trained, frozen)).keys()
    memory = _storages(chain(learner.method.parameters(), learner.method.buffers(), learner.head.buffers()))
    moments = [value for name, value in engine.state().items() if name != "step"]
    return {
        "trunk, frozen": _bytes_of(frozen),
        "trunk and head" if learner.trunk.is_trained else "prompts and head": _bytes_of(trained),
        "gradients": _gradients(stepper, trained),
        "optimizer state": _bytes_of(moments),
        "earlier tasks' prompts, statistics": sum(memory[name] for name in others & memory.keys()),
        SAVED: _saved(stepper),
        PEAK: _peak(stepper.train_step, device),
    }


def foreseen_parts(planned: Parts, device: Device) -> Parts:
    """What is measured, of the parts of a plan. On a CPU a batch lies in memory of its own."""
    staying = {name: size for name, size in planned.items() if name not in ("process (assumed)", "batch", "workspace")}
    batch = planned["batch"] if device == "cuda" else 0
    return staying | {PEAK: batch + planned[SAVED] + planned["workspace"]}


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes by the storage's address; views share one."""
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(_storages(tensors).values())


def _gradients(stepper: Stepper, trained: Iterable[Tensor]) -> int:
    stepper.backward()
    there = _bytes_of(tensor.grad for tensor in trained if tensor.grad is not None)
    stepper.learner.zero_grad()
    return there


def _saved(stepper: Stepper) -> int:
    """By autograd, beyond parameters, buffers and pictures."""
    given = stepper.given()
    apart = _storages(chain(stepper.learner.parameters(), stepper.learner.buffers(), [given.images]))
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.update(_storages([tensor]))
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = stepper.loss(given)
    del loss
    return sum(size for name, size in kept.items() if name not in apart)


def _peak(call: Callable[[], None], device: str) -> int:
    """Beyond what was held before."""
    if not device.startswith("cuda"):
        return most_allocated(call)
    memory = DeviceMemory(device)
    memory.forget_peak()
    before = memory.held()
    call()
    return memory.peak() - before
