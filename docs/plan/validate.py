"""The memory that a plan foresees beside what real steps take on this machine's CPU: `python docs/plan/validate.py`.

Each row is a process of its own: two tasks of ten classes, of the second a training step (matching included) and a
test. `allocated` is the most that torch's allocator held at once beyond what was there before, by its profiler;
`resident` is how far the process's resident set grew, which also has what kernels take past torch's allocator.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch

from hlgp_dist.bench.stepping.profile import most_allocated
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk, meta_trunk
from hlgp_dist.train.estimate.costs import task_costs
from hlgp_dist.train.footprint import NoPictures
from hlgp_dist.train.host_memory import forget_peak, give_back, resident
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec

TASKS = tuple(TaskSpec(t, 10 * t, tuple(f"{t}-{c}" for c in range(10))) for t in range(2))
ROWS = (
    "vit_tiny_patch16_224 16",
    "vit_tiny_patch16_224 64",
    "vit_small_patch16_224 16",
    "vit_small_patch16_224 64",
    "vit_base_patch16_224 4",
    "vit_base_patch16_224 16",
    "vit_base_patch16_224 32",
    "vit_base_patch16_224 16 engine.precision=fp32",
    "vit_small_patch16_224 32 method.kind=coda",
    "vit_small_patch16_224 32 method.kind=l2p",
    "vit_small_patch16_224 32 method.kind=linear",
    "vit_small_patch16_224 16 method.kind=full engine.precision=fp32",
    "vit_large_patch16_224 8",
    "vit_huge_patch14_224 4",
)
MB = 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", help="this one alone, in this process, as JSON")
    parser.add_argument("rows", nargs="*", default=ROWS, help="each a backbone, a batch and KEY=VALUE in one word")
    given = parser.parse_args()
    if given.row is not None:
        print(json.dumps(_measured(*_of(given.row))))
        return
    print("| backbone, batch | phase | foreseen, MB | allocated, MB | error | resident, MB | error |")
    print("|---|---|---|---|---|---|---|")
    for row in given.rows:
        done = subprocess.run([sys.executable, __file__, "--row", row], capture_output=True, text=True)
        if done.returncode:
            print(f"| {row} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)
            continue
        found = json.loads(done.stdout)
        for phase, planned in _planned(*_of(row)).items():
            allocated, grown = found[phase]
            errors = [f"{100 * (planned / each - 1):+.1f} %" for each in (allocated, grown)]
            numbers = [f"{each / MB:.0f}" for each in (planned, allocated, grown)]
            print(
                f"| {row} | {phase} | {numbers[0]} | {numbers[1]} | {errors[0]} | {numbers[2]} | {errors[1]} |",
                flush=True,
            )


def _of(row: str) -> tuple[RunConfig, int]:
    name, batch, *overrides = row.split()
    values = {"data": {"path": "."}, "backbone": {"name": name, "weights": "none"}}
    return resolve(values, overrides).config, int(batch)


def _planned(config: RunConfig, batch: int) -> dict[str, int]:
    setting = Setting(meta_trunk(config.backbone).dimensions, TASKS, 0)
    cost = task_costs(config, setting, (np.full((batch, 2), 224), batch), "cpu")[-1]
    return {"training": cost.step.peak, "test": cost.test.peak}


def _measured(config: RunConfig, batch: int) -> dict[str, tuple[int, int]]:
    trunk, _ = build_trunk(
        config.backbone, precision=config.engine.precision, seed=0, trained=config.method.trains_trunk
    )
    normalised = trunk.normalisation.forward  # by an accelerator's way: on a CPU it writes into pages that stay
    trunk.normalisation.forward = lambda images, dtype, is_kept: normalised(images, dtype, is_kept=True)
    learner = Learner(trunk, build_method(config.method, Setting(trunk.dimensions, TASKS, 0)))
    learner.begin_task(TASKS[0])
    learner.eval()
    with torch.no_grad():
        learner.method.end_task(trunk, NoPictures(len(TASKS[0].classes)))
    learner.begin_task(TASKS[1])
    size = trunk.input_format.size.size
    images, labels = torch.rand(batch, 3, size, size), torch.full((batch,), TASKS[1].start)

    def step() -> None:
        learner.train()
        loss, _ = learner(images, labels, torch.ones(batch))
        loss.backward()
        learner.zero_grad()

    @torch.no_grad()
    def test() -> None:
        learner.eval()
        learner.predict(images)

    training = _peaks(step)
    with torch.no_grad():
        learner.eval()
        learner.method.end_task(trunk, NoPictures(len(TASKS[1].classes)))
    return {"training": training, "test": _peaks(test)}


def _peaks(call: Callable[[], None]) -> tuple[int, int]:
    """Bytes: by torch's profiler, then by the kernel's high-water mark."""
    call()
    allocated = most_allocated(call)
    give_back()
    forget_peak()
    before = resident()
    call()
    return allocated, resident("VmHWM") - before


if __name__ == "__main__":
    main()
