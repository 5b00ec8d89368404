"""An exported model that predicts, by the same trunk, method and head as evaluation.

B pictures, C classes, S pixels of a side.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hlgp_dist.data.augment import to_float
from hlgp_dist.data.buffers import Memory
from hlgp_dist.errors import ConfigError, DataError, first_line
from hlgp_dist.export.description import TENSORS, Description, read_description, specs
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.train.checkpoint import DAMAGE, read_tensors, restore_module, without_prefix
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import PictureSize


class Predictor:
    """learner: after the last stage that it learned, on `device`."""

    def __init__(self, described: Description, learner: Learner, device: str) -> None:
        self.described, self.learner, self.device = described, learner, device
        self._memory = Memory()

    @property
    def size(self) -> PictureSize:
        """Of the pictures that it takes."""
        return self.learner.trunk.input_format.size

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Float32 [B, C] on the host of uint8 pictures [B, 3, S, S], as `evaluate_task` has them."""
        floats = to_float(images.to(self.device), self._memory)
        return self.learner.predict(floats).logits.float().cpu()


def usable_device(name: str | None) -> str:
    """The one that is named, else a GPU if there is one.

    Raises:
        ConfigError: it is not there.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        raise ConfigError(f"--device={name}: {first_line(error)}") from error
    return name


def open_export(folder: Path, *, weights: str | None = None, device: str = "cpu", compiles: bool = False) -> Predictor:
    """The model in a folder.

    weights: of its backbone, `hub`, `none` or a file, in place of those it names; compiles: see `engine.compile`.

    Raises:
        ConfigError: the folder holds no exported model, or one of options that are not known here.
        DataError: its tensors are damaged, or the backbone's weights are missing or are others.
        EnvironmentFailure: no kernel can be made here.
    """
    described = read_description(folder)
    config = described.configured(weights)
    trunk, _ = build_trunk(
        config.backbone,
        precision=config.engine.precision,
        seed=config.seed,
        device=device,
        trained=config.method.trains_trunk,
    )
    if compiles:
        trunk.compile_blocks()
    stages = specs(described.stages)
    setting = Setting(trunk.dimensions, stages, config.seed, described.stream_length)
    learner = Learner(trunk, build_method(config.method, setting).to(device))
    tensors = _tensors(folder / TENSORS, described.tensors)
    for name, part in learner.saved().items():
        restore_module(part, without_prefix(name, tensors))
    learner.continue_task(stages[described.learned - 1])
    return Predictor(described, learner.eval(), device)


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        return read_tensors(path, sha256)
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({error}); export the run again") from error
