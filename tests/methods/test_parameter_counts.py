"""Parameters of the rivals with their published settings, those of METHOD 5.2 to the unit."""

from __future__ import annotations

import pytest
import torch

from hlgp_dist.config import method_options as options
from hlgp_dist.methods.base import Method, Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.trunk import Dimensions
from hlgp_dist.types import TaskSpec

BACKBONES = {"B/16": (12, 768), "L/16": (24, 1024), "H/14": (32, 1280)}
TASKS = tuple(TaskSpec(i, i, (str(i),)) for i in range(10))
STORED: dict[str, tuple[options.Method, tuple[int, int, int]]] = {
    "L2P": (options.L2p(kind="l2p"), (46_080, 61_440, 76_800)),
    "L2P++": (
        options.L2p(kind="l2p", pool_size=30, prompt_length=10, insertion="prefix"),
        (483_840, 645_120, 806_400),
    ),
    "DualPrompt, CIFAR-100": (options.DualPrompt(kind="dualprompt"), (253_440, 337_920, 422_400)),
    "DualPrompt, ImageNet-R": (
        options.DualPrompt(kind="dualprompt", expert_length=20),
        (944_640, 1_259_520, 1_574_400),
    ),
    "DualPrompt, CODA-Prompt's code": (
        options.DualPrompt(kind="dualprompt", general_length=3, expert_length=10, keys="per_layer"),
        (493_056, 657_408, 821_760),
    ),
    "CODA-P": (options.Coda(kind="coda"), (3_840_000, 5_120_000, 6_400_000)),
    "APT": (options.Apt(kind="apt"), (18_432, 49_152, 81_920)),
}
"""After ten tasks, head apart."""
TRAINED = {
    "L2P": lambda width, depth: 10 * 5 * width + 10 * width,
    "L2P++": lambda width, depth: 30 * 20 * width + 30 * width,
    "DualPrompt, CIFAR-100": lambda width, depth: 2 * 2 * 5 * width + 3 * 2 * 5 * width + width,
    "DualPrompt, ImageNet-R": lambda width, depth: 2 * 2 * 5 * width + 3 * 2 * 20 * width + width,
    "DualPrompt, CODA-Prompt's code": lambda width, depth: 2 * 2 * 3 * width + 3 * 2 * 10 * width + 3 * width,
    "CODA-P": lambda width, depth: 5 * 10 * (8 + 2) * width,
    "APT": lambda width, depth: 2 * depth * width,
}
"""In one task: general prompts and pools whole, of experts and components the task's own."""


def after_ten_tasks(chosen: options.Method, depth: int, width: int) -> Method:
    with torch.device("meta"):
        method = build_method(chosen, Setting(Dimensions(depth, width, width), TASKS, 0))
        for task in TASKS:
            method.begin_task(task)
            method.end_task(None, None)  # type: ignore[arg-type]
    return method


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", STORED)
def test_parameters_are_those_of_the_table(name: str, backbone: str) -> None:
    chosen, stored = STORED[name]
    depth, width = BACKBONES[backbone]
    method = after_ten_tasks(chosen, depth, width)
    assert method.num_stored_parameters() == stored[list(BACKBONES).index(backbone)]
    assert sum(p.numel() for p in method.trained(TASKS[-1])) == TRAINED[name](width, depth)
