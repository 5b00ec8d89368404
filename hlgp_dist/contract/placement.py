"""Where tensors are: what a GPU would refuse, found without one. The meta device stands for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hlgp_dist.config import method_options
from hlgp_dist.contract.demand import ContractBroken, placed
from hlgp_dist.contract.rehearsal import TASKS, TINY, Rehearsal
from hlgp_dist.models.backbone import meta_trunk

COPY = torch.ops.aten.copy_
INDEXED = (torch.ops.aten.index, torch.ops.aten.index_put_)
"""Their second argument, the indices, may be of the host."""
REFUSED = "not on the expected device"
"""As some operations on meta say it themselves."""


def check_placement(options: method_options.Method) -> bool:
    """Take the method through its tasks on a device that holds no values, its memory and pictures with it.

    False where it looks at values there, which is no fault, but leaves what comes after unseen.

    Raises:
        ContractBroken: it computes with tensors of the host and of the device together.
    """
    rehearsal = Rehearsal(meta_trunk(TINY, trained=options.trains_trunk), TASKS, options)
    try:
        with _OneDevice():  # type: ignore[no-untyped-call]
            for task in rehearsal.tasks:
                _go_through(rehearsal, task.index)
    except Exception as error:  # whatever foreign code may raise where there are no values
        if not isinstance(error, _Mixed) and REFUSED not in str(error):
            return False
        operation = f"{error} " if isinstance(error, _Mixed) else ""
        what = placed(error, f"computes {operation}of tensors of the host and of the device")
        raise ContractBroken(
            f"{what}, which a GPU refuses: make a constant with device=images.device, what is remembered a buffer"
        ) from error
    return True


def _go_through(rehearsal: Rehearsal, index: int) -> None:
    rehearsal.begin(rehearsal.tasks[index])
    if rehearsal.method.has_gradients:
        rehearsal.backward()
    rehearsal.end()
    images, method = rehearsal.batch().images, rehearsal.method
    rehearsal.output(images)
    rehearsal.learner.features(images)
    if method.takes_task_weights:
        rehearsal.output(images, method.known_task(index, index + 1, images.device))


class _Mixed(Exception):
    """Tensors of two devices in one operation, by its name."""


class _OneDevice(TorchDispatchMode):
    """Inside, an operation on tensors of two devices raises _Mixed; a scalar goes anywhere."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = (args, kwargs)
        if func.overloadpacket in INDEXED and args[0].is_meta:
            given = ((args[0], *args[2:]), kwargs)
        devices = {leaf.device for leaf in tree_leaves(given) if isinstance(leaf, Tensor) and leaf.dim()}
        if func.overloadpacket != COPY and len(devices) > 1:
            raise _Mixed(str(func))
        return func(*args, **(kwargs or {}))
