"""The judge of a search: Tune's word of its trials, passed on to the course, whose verdicts it carries out."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from hlgp_dist.errors import Failure, Interrupted, first_line
from hlgp_dist.launch.stop import SharedStop
from hlgp_dist.launch.trials import objectives
from hlgp_dist.train.checkpoint import NOWHERE, Place
from hlgp_dist.train.folder import TRIALS, RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.tuning.course import Course

OBJECTIVE = "val/average_accuracy"
"""Mean over the tasks seen, of the validation part held out of each task's training pictures."""
RUNG = "tasks_finished"
PLACE = "place"
"""(task, step) that an attempt goes on at: further than the one before, if that one has saved."""


class Unwritten:
    """Tune pickles what it is given into files that a search never goes on from: this leaves nothing there."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())


def name_of(trial: Any) -> str:
    """Of one of Tune's trials, in the course."""
    return str(trial.config["trial"])


class Judge(Unwritten, FIFOScheduler):  # type: ignore[misc]  # ray has no types here
    """Tells the course of each report and each ending, and the terminal in a line."""

    def __init__(self, course: Course, search: RunFolder, stop: SharedStop, max_retries: int) -> None:
        super().__init__()
        self._course, self._search, self._stop, self._max_retries = course, search, stop, max_retries
        self._places: dict[str, Place] = {}

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if PLACE in result:
            self._begins(trial, result[PLACE])
        if OBJECTIVE not in result:  # nor in Tune's own last word
            return str(TrialScheduler.CONTINUE)
        name, tasks, objective = name_of(trial), int(result[RUNG]), float(result[OBJECTIVE])
        is_news = tasks > len(self._course.state.trials[name].reports)
        stops = self._course.reported(name, tasks, objective)
        if is_news:
            num_tasks, status = self._course.state.num_tasks, self._course.state.trials[name].status
            end = {"stopped": ": stopped", "waiting": ": waits for its replicates"}.get(status, "")
            print(f"{name}: task {tasks}/{num_tasks} done, val accuracy {100 * objective:.2f} %{end}", flush=True)
            self._stop_replicates(controller, trial)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def _begins(self, trial: Any, place: Place) -> None:
        """What drivers died of before the last new checkpoint is no reason to give up, as little as in a run."""
        if place > self._places.get(name_of(trial), NOWHERE):
            self._places[name_of(trial)] = place
            trial.max_failures = trial.num_failures + self._max_retries

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """`result`: the driver's last word, which says why it failed."""
        silent = failed(Failure("the driver ended without a result"))
        self._ended(controller, trial, result if "reason" in result else silent)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Tune also says so, once the trial is marked, of a driver that it is about to start again."""
        if trial.status != trial.ERROR:
            row = f"launch.max_retries={self._max_retries} in a row saved nothing new"
            reason = f"retries exhausted: {row}; the driver died: {_last_error(trial)}"
            self._ended(controller, trial, failed(Failure(reason)))

    def _ended(self, controller: Any, trial: Any, told: Mapping[str, Any]) -> None:
        """What the trial's own result.json says; one that died early, or on a full disk, has left none."""
        name = name_of(trial)
        if self._course.state.trials[name].status != "running":  # stopped, or it waits for its replicates
            return
        self._search.keeper.refresh()
        folder = RunFolder(self._search.path / TRIALS / name)
        result = folder.read_result() or told
        if result["exit_code"] == Interrupted.exit_code and self._stop.requested:
            return  # the next command goes on with it
        self._course.ended(name, result["exit_code"], result["reason"], objectives(folder))
        print(f"{name}: {'ended' if result['exit_code'] == 0 else 'failed: ' + result['reason']}", flush=True)
        self._stop_replicates(controller, trial)

    def _stop_replicates(self, controller: Any, trial: Any) -> None:
        """Those that this trial's verdict or failure ended, now: they may be hours from their next report."""
        for other in list(controller.get_live_trials()):
            if other is not trial and self._course.state.trials[name_of(other)].is_over:
                controller.stop_trial(other)


def _last_error(trial: Any) -> str:
    """As Tune keeps it on this host, long before it is where `get_error` looks."""
    file = trial.pickled_error_file
    return first_line(pickle.loads(Path(file).read_bytes())) if file else "no error that Ray knows of"
