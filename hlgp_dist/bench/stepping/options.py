"""From the flags of `hlgp bench step` to the run whose steps are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.types import TaskSpec

HAVE_EFFECT = ("backbone", "method", "optimizer", "seed", "engine.checkpoint_blocks")
"""Keys and sections of a run that a measured step is made of; the rest are flags, or say nothing about it."""
FLAGS = {
    "backbone.name": "--backbone",
    "backbone.img_size": "--size",
    "method.kind": "--method",
    "engine.precision": "--precision",
    "engine.compile": "--compile",
}
"""Keys that the verb has a flag for."""
BATCHES = {"cpu": 16, "cuda": 128}
BACKBONES = {"cpu": "vit_small_patch16_224", "cuda": "vit_base_patch16_224"}

Yardstick = Literal["plain", "bf16"]
"""plain: in fp32, with attention in three steps."""


@dataclass(frozen=True)
class StepOptions:
    """Of the verb. config: of the run, whose data nobody opens; tasks: the last of them is the one measured; rounds:
    the medians over them count; yardstick: how the same work is timed, too; profile: a file for a step's course."""

    config: RunConfig
    tasks: tuple[TaskSpec, ...]
    batch_size: int
    rounds: int
    yardstick: Yardstick | None
    profile: Path | None
    device: str


def step_options(
    *,
    backbone: str | None,
    method: str,
    batch_size: int | None,
    size: int | None,
    precision: Literal["bf16", "fp32", "int8"],
    compiled: bool,
    tasks: int,
    classes: int,
    rounds: int,
    yardstick: Yardstick | None,
    profile: Path | None = None,
    overrides: Sequence[str],
) -> StepOptions:
    """With this machine's defaults for what is None. Weights are random: they take the time of others.

    Raises:
        ConfigError: as for any run, or a key without effect.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key in FLAGS:
            raise ConfigError(f"{override}: give {FLAGS[key]}")
        if not any(key == each or key.startswith(f"{each}.") for each in HAVE_EFFECT):
            raise ConfigError(
                f"{override}: has no effect on a step that is measured; {', '.join(HAVE_EFFECT)} have one"
            )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = {
        "data": {"path": "synthetic"},
        "backbone": {"name": backbone or BACKBONES[device], "weights": "none", "img_size": size},
        "method": {"kind": method},
        "engine": {"precision": precision, "compile": compiled},
    }
    config = resolve(values, overrides).config
    if yardstick == "bf16" and precision == "bf16" and not compiled:
        raise ConfigError("--compare=bf16: is this very step; give --precision or --compile, or --compare plain")
    if profile is not None and not config.method.takes_gradients:
        raise ConfigError(f"--profile={profile}: is of a training step, and {config.method.kind} has none")
    names = [tuple(f"class {task * classes + index}" for index in range(classes)) for task in range(tasks)]
    stream = tuple(TaskSpec(task, task * classes, name) for task, name in enumerate(names))
    return StepOptions(config, stream, batch_size or BATCHES[device], rounds, yardstick, profile, device)
