"""Tiny runs that have finished, for tests that export them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.models.backbone import create_vit
from hlgp_dist.train.folder import RunFolder
from tests.jobs import WITHOUT_GRADIENTS, job
from tests.ranks import Ranks

Trained = Callable[[str], RunFolder]
HLGP = ("method.prompt_length=2", "method.train_mixture=current")
KINDS = {
    "default": ("method.prompt_length=2",),
    "one_pass": ("method.prompt_length=2", "method.matching.cycles=1"),
    "auxiliary": (
        *HLGP,
        "method.matching.kind=auxiliary",
        "method.matching.classifier.kind=ranpac",
        "method.matching.classifier.projection_width=40",
        "method.prediction=combined",
    ),
    "prototype": (*HLGP, "method.matching.kind=prototype"),
    "sinusoidal": ("method.accumulation=mean", "method.position.kind=sinusoidal"),
    "independent": ("method.kind=independent", "method.prompt_length=2"),
    "coda": ("method.kind=coda", "method.num_components=10"),
    "dualprompt": ("method.kind=dualprompt",),
    "l2p": ("method.kind=l2p", "method.pool_size=4", "method.top_k=2"),
    "apt": ("method.kind=apt",),
    "linear": ("method.kind=linear", "optimizer.prompt_lr=0.003"),
    "full": ("method.kind=full", "optimizer.prompt_lr=0.001"),
    "ncm": ("method.kind=ncm", *WITHOUT_GRADIENTS),
    "ranpac": ("method.kind=ranpac", "method.projection_width=40", *WITHOUT_GRADIENTS),
}
TASKS, CLASSES = 3, 6


def write_weights(path: Path, *, seed: int) -> Path:
    """Random ones of TINY, as a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(create_vit(TINY).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", seed=0)


@pytest.fixture(scope="session")
def trained(drawn: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> Trained:
    """A run of three tasks of two classes, of a name among KINDS; trained once. Read only."""
    root, runs = tmp_path_factory.mktemp("runs"), {}

    def run(name: str) -> RunFolder:
        if name not in runs:
            own = (f"backbone.weights={weights}", f"benchmark.max_tasks={TASKS}", "checkpoint.keep_task_ends=true")
            without = name in ("ncm", "ranpac")
            epochs = () if without else ("train.epochs=1",)
            runs[name], codes = ranks.run(job(drawn, root / name, *own, *epochs, *KINDS[name]))
            assert codes == [0]
        return runs[name]

    return run
