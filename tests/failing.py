"""Ranks in which something goes wrong at a given step: of local launchers and of Ray, also in a search's trials."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from hlgp_dist.launch import local, ray_run, tuner
from hlgp_dist.train.loop import TaskTrainer

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
FAULTS = "HLGP_TEST_FAULTS"
_rank_main, _worker_main, _drive = local._rank_main, ray_run._worker_main, tuner._drive


class Fault(NamedTuple):
    """A signal, sleep, or memory, of a rank before a step of a task; once, or each time a run of that name is there."""

    kind: str
    rank: int
    task: int
    step: int
    each_time_in: str | None = None


def inject(patch: pytest.MonkeyPatch, folder: Path, *faults: Fault) -> None:
    """In every run started from now on; `folder` keeps what has happened."""
    folder.mkdir(parents=True)
    patch.setenv(FAULTS, json.dumps({"folder": str(folder), "faults": faults}))
    patch.setattr(local, "_rank_main", rank_main)
    patch.setattr(ray_run, "_worker_main", worker_main)
    patch.setattr(tuner, "_drive", drive)


def drive(sample: dict[str, Any], base: dict[str, Any], directory: str, search: str) -> None:
    ray_run._worker_main = worker_main  # type: ignore[assignment]
    _drive(sample, base, directory, search)


def rank_main(*args: Any) -> None:
    TaskTrainer._train_step = _failing(TaskTrainer._train_step)  # type: ignore[method-assign]
    _rank_main(*args)


def worker_main(payload: dict[str, Any]) -> None:
    former = TaskTrainer._train_step
    TaskTrainer._train_step = _failing(former)  # type: ignore[method-assign]
    try:
        _worker_main(payload)
    finally:
        TaskTrainer._train_step = former  # type: ignore[method-assign]


def _failing(train_step: Callable[..., None]) -> Callable[..., None]:
    given = json.loads(os.environ[FAULTS])
    faults = [Fault(*fault) for fault in given["faults"]]

    def step_or_fail(trainer: TaskTrainer, step: int, shares: Any) -> None:
        for number, fault in enumerate(faults):
            here = (trainer.session.context.world.rank, trainer.task.index, step)
            if here == fault[1:4] and _is_due(fault, trainer, Path(given["folder"]) / str(number)):
                _fail(fault.kind)
        train_step(trainer, step, shares)

    return step_or_fail


def _is_due(fault: Fault, trainer: TaskTrainer, mark: Path) -> bool:
    if fault.each_time_in is not None:
        return trainer.session.folder.path.name == fault.each_time_in
    return _is_first(mark)


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fail(kind: str) -> None:
    if kind == "memory":
        raise torch.OutOfMemoryError("injected")
    if kind == "sleep":
        time.sleep(10_000)
    os.kill(os.getpid(), SIGNALS[kind])
    time.sleep(5)  # Python heeds it now and then
