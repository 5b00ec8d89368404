"""A study's folder that nobody ran: three backbones, three methods, seeds."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

from hlgp_dist.files import write_json, write_text
from hlgp_dist.study.collect import Run, find
from hlgp_dist.train.folder import RunFolder
from tests.results import ENVIRONMENT, IMAGES, leave_run

BACKBONES, METHODS = ("s", "b", "l"), ("hlgp", "independent", "linear")
STUDY = """study:
  axes:
    backbone: {s: {}, b: {}, l: {}}
    method: {hlgp: {}, independent: {}, linear: {}}
"""


def leave_study(folder: Path, *, seeds: int = 3, seconds: float = 10.0) -> Path:
    """Every combination; a larger backbone is better, hlgp the best; `seconds` moves times alone."""
    write_text(folder / "study.yaml", STUDY)
    planned = {}
    for size, backbone in enumerate(BACKBONES):
        for rank, method in enumerate(METHODS):
            cell = f"{backbone}-{method}"
            planned[cell] = {"runs": [{"values": {}, "run": plan_of(1e13 * (size + 1) * (3 - rank))}]}
            for seed in range(seeds):
                leave_cell(folder / cell / f"seed-{seed}", size, rank, seed, seconds)
    write_json(folder / "plan.json", {"cells": planned})
    return folder


def leave_cell(folder: Path, size: int, rank: int, seed: int, seconds: float) -> None:
    draw = random.Random(f"{size} {rank} {seed}")
    level = 0.55 + 0.1 * size - 0.05 * rank
    right = [
        [round((level - 0.03 * (t - i) + draw.uniform(-0.05, 0.05)) * IMAGES[i]) for i in range(t + 1)]
        for t in range(5)
    ]
    method = METHODS[rank]
    extra = ["optimizer.prompt_lr=0.003"] if method == "linear" else []
    overrides = [f"seed={seed}", f"method.kind={method}", f"backbone.kwargs.depth={2 * size + 2}", *extra]
    weights = {"name": "vit_tiny_patch16_224", "weights": "none", "sha256": "5ead" * 16, "timm_version": "1.0.31"}
    leave_run(
        folder,
        *overrides,
        right=right,
        environment=ENVIRONMENT | {"devices": ["NVIDIA H100"]},
        backbone=weights | {"num_parameters": 10_000_000 * 4**size},
        num_trainable_parameters=0 if method == "linear" else 1000 * (size + 1) * (rank + 1),
        training_seconds=seconds * (size + 1),
        images_per_second=1000.0 / seconds,
        peak_memory_bytes=int(seconds * 1e8),
    )


def plan_of(flops: float) -> dict[str, Any]:
    """What a report reads of `hlgp plan --json`."""
    return {
        "steps": 100,
        "flops": flops,
        "pass_flops": flops / 4000,
        "memory": {"peak": 2**30},
        "stages": [{"trained": 1000, "training": 0.8 * flops}],
    }


def without_times(page: str) -> str:
    """What two reports of one study have to agree in, byte for byte."""
    return re.sub(r"<!-- timed -->.*?<!-- /timed -->", "", page, flags=re.DOTALL)


def found(root: Path) -> list[Run]:
    """Below it."""
    return find([RunFolder(root)]).runs
