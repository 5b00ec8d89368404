"""What a computation would allocate and multiply, counted while it runs on tensors without numbers (on `meta`)."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from hlgp_dist.train.estimate.shapes import result_of

Phase = Literal["matching", "forward", "backward"]
"""matching: whatever is computed without gradients while a step has its forward pass, and all of an evaluation."""
BLOCK = 512
"""Bytes: torch's CUDA allocator gives no less, and only multiples."""
TILE = 128
"""Rows that the fused attention's backward pass computes at a time."""

flop_registry[torch.ops.aten._int_mm] = flop_registry[torch.ops.aten.mm]
flop_registry[torch.ops.aten.addmm_] = flop_registry[torch.ops.aten.addmm]


class Trace(TorchDispatchMode):
    """Live and peak bytes of all storages made inside, and FLOPs (2 per multiply-add) of the matrix products by phase.

    A storage counts until nothing refers to it any more, what autograd saves included: what the allocator of a device
    would hold. `kernels` counts the operations that make one, which is all but views and what is done in place.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self.flops: Counter[Phase] = Counter()
        self.kernels = 0
        self.is_backward = False
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            self._watch(tensor, is_made=False)
        out = result_of(func, args, kwargs or {})
        packet = func.overloadpacket
        if packet in flop_registry:
            self.flops[self._phase()] += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        self.kernels += max((self._watch(tensor, is_made=True) for tensor in tree_leaves(out)), default=False)
        if packet in WORKSPACES:
            self.peak = max(self.peak, self.live + WORKSPACES[packet](args))
        return out

    def _phase(self) -> Phase:
        if self.is_backward:
            return "backward"
        return "forward" if torch.is_grad_enabled() else "matching"

    def _watch(self, tensor: object, *, is_made: bool) -> bool:
        """Whether its storage was not seen before. One seen first as an argument counts nothing."""
        if not isinstance(tensor, Tensor):
            return False
        storage = tensor.untyped_storage()
        name = storage._cdata  # of the storage itself; its Python objects come and go
        if name in self._alive:
            return False
        size = -(-storage.nbytes() // BLOCK) * BLOCK if is_made else 0
        self._alive.add(name)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, name, size)
        return True

    def _forget(self, name: int, size: int) -> None:
        self._alive.discard(name)
        self.live -= size


def _flash_backward(args: tuple[Any, ...]) -> int:
    """Bytes of the query's gradient in fp32, whose rows and head width are whole tiles."""
    batch, heads, tokens, width = args[1].shape
    return int(4 * batch * heads * (-(-tokens // TILE) * TILE) * (-(-width // 32) * 32))


WORKSPACES: Mapping[Any, Callable[[tuple[Any, ...]], int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_backward: _flash_backward,
}
"""Bytes that a kernel takes for itself and gives back, of its arguments."""
