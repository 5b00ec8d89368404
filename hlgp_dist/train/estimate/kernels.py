"""How a device computes what `meta` would compute otherwise: attention, and the dtypes of autocast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hlgp_dist.models.trunk import Trunk

Device = Literal["cuda", "cpu"]
LOW = (functional.linear, functional.conv2d, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.einsum)
"""What autocast computes in its dtype, of what a ViT calls; attention too."""
FULL = (functional.layer_norm, functional.softmax, torch.softmax, Tensor.softmax)
"""What autocast on a GPU computes in fp32."""
FUSED = {
    "cuda": torch.ops.aten._scaled_dot_product_flash_attention,
    "cpu": torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
}


class Kernels(TorchFunctionMode):
    """Inside, attention is the device's fused kernel, which keeps no matrix of scores; autocast is done by hand."""

    def __init__(self, device: Device, autocast: torch.dtype | None) -> None:
        super().__init__()
        self._attention, self._autocast = FUSED[device], autocast

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            query, key, value = (self._cast(each, self._autocast) for each in args)
            return self._attention(query, key, value, 0.0, False, scale=named.get("scale"))[0]
        if self._autocast is not None and (func in LOW or func in FULL):
            dtype = self._autocast if func in LOW else torch.float32
            args = tuple(self._cast(each, dtype) for each in args)
            named = {name: self._cast(each, dtype) for name, each in named.items()}
        return func(*args, **named)

    def _cast(self, value: Any, dtype: torch.dtype | None) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_float and dtype is not None else value


@contextmanager
def computing_as(device: Device, trunk: Trunk) -> Iterator[None]:
    """Inside, a trunk on `meta` computes as it would on the device."""
    for block in trunk.vit.blocks:
        block.attention.device_type = device
        block.again = partial(Kernels, device, trunk.autocast)  # torch has no function mode on in a backward pass
    with Kernels(device, trunk.autocast):
        yield
