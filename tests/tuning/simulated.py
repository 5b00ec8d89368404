"""A search whose trials take no time: how it goes when it is killed at any moment, and by how many at a time."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Experiment
from ray.tune.search.search_generator import SearchGenerator

from hlgp_dist.config.load import resolve
from hlgp_dist.config.search_options import Search
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.tuner import Proposer
from hlgp_dist.tuning.course import FILE, Course
from hlgp_dist.tuning.record import read_record
from hlgp_dist.tuning.state import SearchState
from hlgp_dist.tuning.trial import Trial

NUM_TASKS = 5
LR = "optimizer.prompt_lr"


class Killed(Exception):
    """The conducting process is gone."""


def search_of(**options: Any) -> Search:
    """A search over one learning rate, unless told otherwise."""
    values = {"space": {LR: {"loguniform": [1e-4, 1e-1]}}, "num_samples": 6} | options
    config = resolve({"data": {"path": "x"}, "search": values}).config
    assert config.search is not None
    return config.search


def objective(trial: Trial, tasks: int) -> float:
    """Better for larger rates, falls with tasks, differs by seed: a function of the trial alone."""
    return round(100 * trial.values.get(LR, 0.01), 6) - 0.01 * tasks + 0.001 * (trial.seed or 0)


class Clock:
    """Hours pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def asked_by_ray(course: Course, at_once: int, folder: Path) -> SearchGenerator:
    """What asks a course for trials in a real search: once told that there are no more, it asks no more."""
    asking = SearchGenerator(Proposer(course, lambda running: running < at_once, Stop()))
    asking.add_configurations(Experiment("ray", lambda _: None, num_samples=sys.maxsize, storage_path=str(folder)))
    return asking


def conduct(
    folder: Path,
    search: Search,
    *,
    at_once: int = 1,
    dies_after: int | None = None,
    order: random.Random | None = None,
    clock: Clock | None = None,
    task_hours: float = 0.0,
    fails: Callable[[Trial], int] = lambda trial: 0,
    checkpoints: dict[str, int] | None = None,
) -> tuple[SearchState, str | None]:
    """Run to the end, or until that many reports were made; `checkpoints` is what trials remember over deaths."""
    saved: dict[str, int] = {} if checkpoints is None else checkpoints
    clock, made = clock or Clock(), 0
    course = Course(folder, search, NUM_TASKS, devices_per_trial=2, now=clock)
    asking, running = asked_by_ray(course, at_once, folder), list[Trial]()
    while True:
        while (asked := asking.next_trial()) is not None:
            trial = course.state.trials[asked.config["trial"]]
            running.append(trial)
            for tasks in range(1, saved.get(trial.name, 0) + 1):  # a driver reports again what it finds
                course.reported(trial.name, tasks, objective(trial, tasks))
            running = [each for each in running if each.status == "running"]
        if not running or course.spent_up():
            assert asking.is_finished(), "Tune would wait for ever"
            break
        trial = order.choice(running) if order else running[0]
        code = fails(trial)
        if code:
            course.ended(trial.name, code, "no luck", [])
            running = [each for each in running if each.status == "running"]
            continue
        for _ in range(round(6 * task_hours)):
            clock.seconds += 600
            course.pass_time()
        saved[trial.name] = tasks = min(saved.get(trial.name, 0) + 1, NUM_TASKS)
        made += 1
        if dies_after is not None and made > dies_after:
            course._record.close()  # which writes nothing
            raise Killed  # after the checkpoint, before the report
        if tasks < NUM_TASKS:
            course.reported(trial.name, tasks, objective(trial, tasks))
        else:
            course.ended(trial.name, 0, "done", [objective(trial, each) for each in range(1, NUM_TASKS + 1)])
        running = [each for each in running if each.status == "running"]
    reason = course.conclude()
    course.close()
    return course.state, reason


def shown(state: SearchState) -> Mapping[str, Any]:
    """Everything that decisions rest on, times apart."""
    trials = [
        (trial.name, trial.values, trial.seed, trial.status, trial.reason, tuple(trial.reports))
        for trial in state.trials.values()
    ]
    return {"trials": trials, "rungs": state.rungs.table}


def replayed(folder: Path, search: Search) -> SearchState:
    """What a new process finds."""
    return SearchState(search, NUM_TASKS, read_record(folder / FILE))
