"""A step by the passes of public prompt-tuning code, and ours beside it: `python docs/performance/public_passes.py`.

The passes are those of the code that came with CODA-Prompt and has DualPrompt and L2P as well (GT-RIPL/CODA-Prompt,
`models/zoo.py` and `learners/prompt.py`): a query pass without gradients, then one with prefixes in the first five
blocks, both in fp32 with attention in three steps, and a backward pass with the gradients of all weights, since nothing
freezes them. Our trunk makes them here, without that code's arithmetic on prompts, optimizer and loading.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

import torch
from torch.nn import functional

from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.bench.stepping.options import StepOptions, step_options
from hlgp_dist.bench.stepping.plain import Unfused
from hlgp_dist.bench.stepping.stepper import Stepper, joined
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.injection import ByBlock, Prefix

WARM_UP = 2
PROMPTED = range(5)
"""Blocks with a prefix there."""
LENGTH = 4
"""Vectors for keys, and as many for values (its `8` are both together)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=["bf16", "fp32", "int8"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    options = step_options(
        backbone=given.backbone,
        method="hlgp",
        batch_size=given.batch,
        size=None,
        precision=given.precision,
        compiled=given.compile,
        tasks=2,
        classes=20,
        rounds=given.rounds,
        yardstick=None,
        overrides=(),
    )
    with joined(options.device):
        _compare(options)


def _compare(options: StepOptions) -> None:
    ours = Stepper(options)
    public = _public(options, ours)
    print(f"{options.config.backbone.name}, batches of {options.batch_size}: seconds of a step")
    for task, name in zip(options.tasks, ("one pass", "soft matching, two passes"), strict=True):
        ours.begin(task)
        taken = _rounds(options, {"public": public, "ours": ours.train_step})
        times = taken["public"] / taken["ours"]
        print(f"public passes {taken['public']:.2f}, ours with {name} {taken['ours']:.2f}: {times:.2f} times as fast")
    ours.close()


def _rounds(options: StepOptions, calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Medians, in turns."""
    clock, seconds = Clock(options.device), {name: list[float]() for name in calls}
    for number in range(-WARM_UP, options.rounds):
        for name, call in calls.items():
            taken = clock.seconds(call)
            if number >= 0:
                seconds[name].append(taken)
    return {name: median(some) for name, some in seconds.items()}


def _public(options: StepOptions, ours: Stepper) -> Callable[[], None]:
    trunk, _ = build_trunk(options.config.backbone, precision="fp32", seed=0, device=options.device, trained=True)
    trunk.cuts_last_block = False
    dimensions = trunk.dimensions
    vectors = torch.randn(options.batch_size, 2, LENGTH, dimensions.width, device=options.device, requires_grad=True)
    head = torch.nn.Linear(dimensions.feature_width, 100).to(options.device)
    prompts = ByBlock({block: Prefix(vectors) for block in PROMPTED})

    def step() -> None:
        images, labels, _ = ours.given()
        with Unfused():
            with torch.no_grad():
                trunk(images)
            loss = functional.cross_entropy(head(trunk(images, prompts)), labels)
            loss.backward()  # added to what is there: its optimizer, which zeroes gradients, knows none of them

    return step


if __name__ == "__main__":
    main()
