"""Which blocks share a sub-prompt."""

from __future__ import annotations

from collections.abc import Sequence

from hlgp_dist.errors import ConfigError


def layer_groups(num_layers: int, num_groups: int, layout: Sequence[int] | None = None) -> tuple[int, ...]:
    """The group of each prompted layer: g(l) = floor(l * G / N), or as many layers a group as `layout` lists.

    Raises:
        ConfigError: the groups do not fit the layers.
    """
    if layout is not None:
        if sum(layout) != num_layers:
            raise ConfigError(
                f"method.group_layout: sizes {list(layout)} sum to {sum(layout)}, prompted blocks are {num_layers}"
            )
        return tuple(group for group, size in enumerate(layout) for _ in range(size))
    if num_groups > num_layers:
        raise ConfigError(f"method.num_groups: {num_groups} groups do not fit {num_layers} prompted blocks")
    return tuple(layer * num_groups // num_layers for layer in range(num_layers))
