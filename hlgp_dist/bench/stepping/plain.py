"""The yardstick: the same passes in fp32, with attention in three steps and all tokens of the last block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Unfused(TorchFunctionMode):
    """Inside, attention computes all scores, then their softmax, then its product with the values."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, dropout_p: float = 0.0, **masks: Any
) -> Tensor:
    """Of [B, H, S, K] with [B, H, L + S, K]."""
    assert dropout_p == 0.0 and not any(masks.values()), "a frozen ViT neither drops nor masks"
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return (query * factor @ key.mT).softmax(-1) @ value
