"""The options of the rivals of HLGP, and the union of every method's, tagged by `kind`. All are `identity`.

A method of another package joins the union by an entry point (see `plugins`).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    PlainValidator,
    PositiveInt,
    SerializeAsAny,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from hlgp_dist.config.classifier_options import Gaussian, NearestMean, RanPac
from hlgp_dist.config.hlgp_options import Hlgp, Independent
from hlgp_dist.config.plugins import plugin_options
from hlgp_dist.config.section import Blocks, Fraction, MethodOptions, Section, check_blocks
from hlgp_dist.errors import ConfigError


class L2p(MethodOptions):
    """Learning to Prompt: a pool whose `top_k` prompts nearest to a picture are put in at the input.

    pool_size: prompts; prompt_length: rows of each; top_k: that a picture gets. insertion: input tokens, or keys and
    values of block 0 (`prefix`: L2P++ of CODA-Prompt). pull: the weight of the loss that draws keys to features.
    """

    kind: Literal["l2p"]
    pool_size: PositiveInt = 10
    prompt_length: PositiveInt = 5
    top_k: PositiveInt = 5
    insertion: Literal["tokens", "prefix"] = "tokens"
    pull: NonNegativeFloat = 0.1

    @model_validator(mode="after")
    def _pool_is_large_enough(self) -> L2p:
        if self.top_k > self.pool_size:
            raise ValueError(f"top_k must be at most pool_size ({self.pool_size})")
        return self


class DualPrompt(MethodOptions):
    """A general prompt that every task trains, and an expert prompt a task, found by the nearest key.

    general_length and general_layers: rows and blocks of the general one; expert_length and expert_layers: of the
    experts. keys: one for all expert blocks of a task, or one a block, which then finds its expert alone (CODA-Prompt's
    code). pull: the weight of the loss that draws keys to features.
    """

    kind: Literal["dualprompt"]
    general_length: PositiveInt = 5
    general_layers: Blocks = (0, 1)
    expert_length: PositiveInt = 5
    expert_layers: Blocks = (2, 3, 4)
    keys: Literal["one", "per_layer"] = "one"
    pull: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _layers_differ(self) -> DualPrompt:
        check_blocks("general_layers", self.general_layers)
        check_blocks("expert_layers", self.expert_layers)
        if not self.expert_layers:
            raise ValueError("expert_layers must not be empty")
        both = sorted({*self.general_layers} & {*self.expert_layers})
        if both:
            raise ValueError(f"expert_layers must not hold blocks {both} of general_layers")
        return self


class Coda(MethodOptions):
    """CODA-Prompt: prompts as sums of components, weighted by the cosine of an attended query and a key.

    num_components: over all tasks; each task gets as many. prompt_length: of keys and of values each. layers: the
    prompted blocks. orthogonality: the weight of the loss that keeps components, keys and attention apart.
    """

    kind: Literal["coda"]
    num_components: PositiveInt = 100
    prompt_length: PositiveInt = 4
    layers: Blocks = (0, 1, 2, 3, 4)
    orthogonality: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _layers_fit(self) -> Coda:
        check_blocks("layers", self.layers)
        if not self.layers:
            raise ValueError("layers must not be empty")
        return self


class Apt(MethodOptions):
    """Additive prompts: one vector a layer onto the key and value of CLS, averaged over tasks for tests; one pass.

    ema_decay: of the average so far, at each new task; init_std: of the normal entries at the start.
    """

    kind: Literal["apt"]
    ema_decay: Fraction = 0.7
    init_std: NonNegativeFloat = 0.02


class Linear(MethodOptions):
    """No prompts: a linear probe on the frozen features."""

    trains_prompts: ClassVar[bool] = False

    kind: Literal["linear"]


class FullFineTuning(MethodOptions):
    """The whole trunk trains, at `optimizer.prompt_lr`: the lower bound of a sequence of tasks."""

    trains_trunk: ClassVar[bool] = True

    kind: Literal["full"]


Builtin = Hlgp | Independent | L2p | DualPrompt | Coda | Apt | Linear | FullFineTuning | NearestMean | Gaussian | RanPac
BUILTIN_KINDS = frozenset(get_args(member.model_fields["kind"].annotation)[0] for member in get_args(Builtin))


@cache
def _union(plugin: type[Section] | None) -> TypeAdapter[Any]:
    """The methods that ship, and one of another package."""
    members: Any = Builtin if plugin is None else Builtin | plugin
    return TypeAdapter(Annotated[members, Field(discriminator="kind")])


def _chosen(value: Any, info: ValidationInfo) -> Any:
    """The options that `kind` names; from JSON strictly, where lists stand for tuples."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    plugin = plugin_options(kind) if isinstance(kind, str) else None
    if plugin is not None and kind in BUILTIN_KINDS:
        raise ConfigError(
            f"method.kind = {kind}: an installed plug-in takes the name of a method that ships; rename it"
        )
    union = _union(plugin)
    return union.validate_json(json.dumps(value), strict=True) if info.mode == "json" else union.validate_python(value)


Method = Annotated[
    Builtin,
    Field(discriminator="kind", json_schema_extra={"plugins": True}),
    PlainValidator(_chosen),
    SerializeAsAny(),
]
