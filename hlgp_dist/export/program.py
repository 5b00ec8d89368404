"""A model and its backbone as one program of torch.export, compared with what it was made of. B pictures, C classes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hlgp_dist.errors import ConfigError, Failure, first_line
from hlgp_dist.export.predictor import Predictor
from hlgp_dist.files import filling, sync
from hlgp_dist.train.learner import Learner

PROGRAM = "model.pt2"
TOLERANCES = {"fp32": 1e-5, "bf16": 3e-2}
"""By precision: largest difference of a logit, as a part of the largest logit; of bf16 a rounding is 0.4 %, and there
is one a block and more."""
TRACED, CHECKED = 2, (1, 2, 5)
"""Pictures of a batch."""


class _Logits(nn.Module):
    """[B, C] of float pictures [B, 3, S, S] in 0..1; without what a learner counts on the way."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor) -> Tensor:
        learner = self.learner
        logits: Tensor = learner.method(learner.trunk, learner.head, images, learner.task).logits
        return logits


def write_program(predictor: Predictor, folder: Path) -> float:
    """Write model.pt2, for batches of any size; how far its logits are off, as a part of the largest.

    Raises:
        ConfigError: a method or precision that torch.export does not take.
        Failure: the program gives other logits.
    """
    described, model = predictor.described, _Logits(predictor.learner).eval()
    if described.precision not in TOLERANCES:
        raise ConfigError(f"engine.precision = {described.precision}: --torch-export takes {' or '.join(TOLERANCES)}")
    program = _traced(model, _pictures(predictor, TRACED), described.method["kind"])
    with filling(folder):
        torch.export.save(program, folder / PROGRAM)
    sync(folder / PROGRAM)
    return _check(predictor, model, torch.export.load(folder / PROGRAM).module())


@torch.no_grad()
def _traced(model: nn.Module, images: Tensor, kind: str) -> ExportedProgram:
    try:
        return torch.export.export(model, (images,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # whatever a method does that cannot be traced
        raise ConfigError(
            f"method.kind = {kind}: torch.export does not take it ({type(error).__name__}: {first_line(error)}); "
            "leave out --torch-export"
        ) from error


@torch.no_grad()
def _check(predictor: Predictor, model: nn.Module, program: nn.Module) -> float:
    """The largest difference, of several batches."""
    worst, most = 0.0, TOLERANCES[predictor.described.precision]
    for count in CHECKED:
        images = _pictures(predictor, count)
        expected, found = model(images), program(images)
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    if not worst <= most:
        raise Failure(f"{PROGRAM}: its logits differ by {worst:.1e} of the largest, {most:.0e} is allowed")
    return worst


def _pictures(predictor: Predictor, count: int) -> Tensor:
    size, random = predictor.size.size, torch.Generator().manual_seed(count)
    return torch.rand(count, 3, size, size, generator=random).to(predictor.device)
