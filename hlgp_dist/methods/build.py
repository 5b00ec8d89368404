"""From `method:` of a configuration to the method."""

from __future__ import annotations

from collections.abc import Sequence

from hlgp_dist.config import schema
from hlgp_dist.methods.base import Method
from hlgp_dist.methods.groups import prompted_layers
from hlgp_dist.methods.hlgp import Hlgp
from hlgp_dist.methods.linear import Linear
from hlgp_dist.methods.nearest_mean import NearestMean
from hlgp_dist.models.trunk import Dimensions
from hlgp_dist.types import TaskSpec


def build_method(options: schema.Method, dimensions: Dimensions, tasks: Sequence[TaskSpec], seed: int) -> Method:
    """The method that `method.kind` names.

    Raises:
        ConfigError: groups or layers that do not fit the trunk.
    """
    if isinstance(options, schema.Linear):
        return Linear()
    if isinstance(options, schema.NearestMean):
        return NearestMean(dimensions.feature_width)
    if isinstance(options, schema.Independent):
        options = _one_group_per_layer(options, dimensions)
    return Hlgp(options, dimensions, tasks, seed)


def _one_group_per_layer(options: schema.Independent, dimensions: Dimensions) -> schema.Hlgp:
    """The independent baseline in HLGP's terms: as many groups as layers, free sub-prompts, no position."""
    shared = {name: getattr(options, name) for name in schema.PromptAccumulation.model_fields}
    return schema.Hlgp(
        **shared,
        num_groups=len(prompted_layers(dimensions.depth, options.layers)),
        generator=schema.DirectGenerator(kind="direct"),
        position=schema.NoPosition(kind="none"),
        carry_over="root_and_generator" if options.carry_over == "prompts" else "none",
    )
