"""A search of many trials that nobody ran, written by the classes that a run writes by.

The first trial is written event by event. The others are resumed where a copy of it, with other values, ends: so their
pictures, which take the time, are drawn once.
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.methods.diagnostics import Diagnostics, alike, by_group
from hlgp_dist.telemetry.journal import Event, Journal, read_events
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.chronicle import Chronicle

TASKS, STEPS_PER_TASK, BLOCKS = 10, 30, 12
END = Position(TASKS, 0, TASKS * STEPS_PER_TASK)
VARIED = ("optimizer.prompt_lr", "method.num_groups", "method.prompt_length")


def leave_trials(folder: Path, count: int) -> dict[str, float]:
    """`count` run folders of 300 logged steps and ten tasks each; the final average accuracy of each, by name."""
    drawn, accuracies = random.Random(0), {}
    for index in range(count):
        name, quality = f"trial-{index:05d}", drawn.uniform(0.5, 1.0)
        config = _config(drawn)
        if index == 0:
            _first(folder / name, config)
        else:
            _another(folder / name, folder / "trial-00000", quality)
        accuracies[name] = _finish(folder / name, config, quality)
    return accuracies


def _config(drawn: random.Random) -> RunConfig:
    values = {
        "data": {"path": "x"},
        "benchmark": {"validation_fraction": 0.2},
        "optimizer": {"prompt_lr": 10 ** drawn.uniform(-3, -1)},
        "method": {"num_groups": drawn.choice([1, 2, 3, 4, 6]), "prompt_length": drawn.choice([1, 5, 10, 20])},
        "telemetry": {"varied": list(VARIED), "progress": False},
    }
    return resolve(values).config


def _open(folder: Path, config: RunConfig, resumed_at: Position | None) -> Chronicle:
    return Chronicle.open(
        config, folder, screen=io.StringIO(), resumed_at=resumed_at, num_tasks=TASKS, steps=END.global_step
    )


def _first(folder: Path, config: RunConfig) -> None:
    """Without its end."""
    prompts = torch.randn(TASKS, BLOCKS, 64, generator=torch.Generator().manual_seed(0))
    with _open(folder, config, None) as chronicle:
        for task in range(TASKS):
            for step in range(1, STEPS_PER_TASK + 1):
                chronicle.step(Position(task, step, task * STEPS_PER_TASK + step), _scalars(task, step), epoch=0)
            matrix = [_row(after) for after in range(task + 1)]
            numbers = metrics.summary(matrix, [100] * TASKS)
            numbers["task_identification_accuracy"] = 0.8
            chronicle.task_end(matrix, [False] * len(matrix), numbers, {"data/wait_seconds": 0.1})
            chronicle.matching(_confusion(task + 1), is_sampled=False)
            chronicle.prompts(task, _diagnostics(prompts[: task + 1]))


def _another(folder: Path, first: Path, quality: float) -> None:
    """Without its end."""
    shutil.copytree(first / "tensorboard", folder / "tensorboard")
    Journal(folder / "metrics.jsonl", _scaled(first / "metrics.jsonl", quality)).close()


def _scaled(journal: Path, quality: float) -> Iterator[Event]:
    for event in read_events(journal):
        tags = {tag: value * quality if "acc1" in tag else value / quality for tag, value in event.tags.items()}
        if event.axis != "run":
            yield replace(event, tags=tags)


def _finish(folder: Path, config: RunConfig, quality: float) -> float:
    with _open(folder, config, END) as chronicle:
        numbers = metrics.summary([_row(task) for task in range(TASKS)], [100] * TASKS)
        numbers = {name: value * quality for name, value in metrics.measured(numbers).items()}
        chronicle.finish(END, [False] * TASKS, numbers)
    return numbers["average_accuracy"]


def _scalars(task: int, step: int) -> dict[str, float]:
    """As a run logs them."""
    learned = 1 - 1 / step
    return {
        "train/loss": 2.0 - 1.5 * learned,
        "train/acc1": learned,
        "train/grad_norm": 1.0 / step,
        "train/lr_prompt": 0.003,
        "train/lr_head": 0.003,
        "throughput/images_per_s": 400.0 + task,
        "throughput/images_per_s_per_gpu": 50.0,
        "throughput/data_wait_frac": 0.02,
        "memory/reserved_gib": 11.5,
        "memory/alloc_retries": 0.0,
    }


def _row(after: int) -> list[float]:
    return [0.9 - 0.02 * (after - task) for task in range(after + 1)]


def _confusion(tasks: int) -> list[list[float]]:
    own = torch.eye(tasks) * 3.0 + torch.rand(tasks, tasks, generator=torch.Generator().manual_seed(tasks))
    weights: list[list[float]] = own.softmax(1).tolist()
    return weights


def _diagnostics(prompts: torch.Tensor) -> Diagnostics:
    blocks, tasks = alike(prompts[-1], "block"), alike(prompts, "task")
    groups = [block * 3 // BLOCKS for block in range(BLOCKS)]
    numbers = by_group(blocks.likenesses["similarity_of_blocks"].cosines, groups) | dict(tasks.numbers)
    return Diagnostics(numbers | {"position_ratio": 0.1}, {**blocks.likenesses, **tasks.likenesses})
