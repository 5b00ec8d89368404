"""What Ray Tune is told of a search: a course decides what to start and what to stop, drivers run the trials.

Tune keeps no state of its own that matters: killed anywhere, a new Tuner over the same course goes on.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from hlgp_dist.config import schema
from hlgp_dist.config.load import apply
from hlgp_dist.config.places import absolute
from hlgp_dist.errors import Failure, Interrupted, counted, first_line
from hlgp_dist.launch.abandoned import free_abandoned
from hlgp_dist.launch.cluster import end_if_unwanted, enter
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.prepare import check_run, open_run
from hlgp_dist.launch.ray_run import fit
from hlgp_dist.launch.room import LOOK_SECONDS
from hlgp_dist.launch.storage import View, without_tensors
from hlgp_dist.launch.trials import objectives
from hlgp_dist.launch.watch import STOP_FILE, SharedStop
from hlgp_dist.launch.worker import outcome_kept
from hlgp_dist.train.folder import TRIALS, RunFolder
from hlgp_dist.tuning.course import Course
from hlgp_dist.tuning.trial import Trial

OBJECTIVE = "val/average_accuracy"
"""Mean over the tasks seen, of the validation part held out of each task's training pictures."""
RUNG = "tasks_finished"
HEAD_NODE = "node:__internal_head__"
"""Ray's own resource of the head: a trial's driver reserves no CPU, but Tune wants it to reserve something."""


def build_tuner(
    trial: schema.RunConfig,
    config: schema.RunConfig,
    folder: RunFolder,
    course: Course,
    slots: Callable[[], int],
    stop: SharedStop,
) -> tune.Tuner:
    """`trial` is what every proposal varies; `slots()` is how many of them the cluster holds at a time.

    Once `stop` is requested drivers let their ranks save and end, and nothing more is started.
    """
    told = {
        "base": trial.model_dump(mode="json"),
        "directory": str(Path.cwd()),
        "search": absolute(folder.place),
    }
    driver = {"CPU": 0, config.launch.driver_resource or HEAD_NODE: 0.001}
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_drive, **told), driver),
        tune_config=tune.TuneConfig(
            num_samples=-1,  # the course says when it is over
            search_alg=Proposer(course, slots, stop),
            scheduler=Judge(course, folder, stop),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.logs.absolute()),
            callbacks=[EndIfUnwanted(), FreeAbandoned(), PassTime(course)],
            failure_config=tune.FailureConfig(max_failures=config.launch.max_retries),  # of a driver whose process died
            stop=Spent(course),
            verbose=0,
        ),
    )


def _name(trial: Any) -> str:
    return str(trial.config["trial"])


class Unwritten:
    """Tune pickles what it is given into files that a search never goes on from: this leaves nothing there."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())


class Proposer(Unwritten, Searcher):  # type: ignore[misc]  # ray has no types here
    """Hands Tune the course's next trial when there is room for one."""

    def __init__(self, course: Course, slots: Callable[[], int], stop: SharedStop) -> None:
        super().__init__()
        self._course, self._slots, self._stop = course, slots, stop

    def suggest(self, trial_id: str) -> Any:
        if self._stop.requested or self._course.is_exhausted():
            return Searcher.FINISHED
        if self._course.num_running() >= self._slots():
            return None
        trial = self._course.next_trial()
        return None if trial is None else _sample(trial)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The judge has told the course."""

    def save(self, checkpoint_path: str) -> None:
        """The course is on disk already; Tune wants a file all the same."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a search goes on by its course, not by Tune's state")


def _sample(trial: Trial) -> dict[str, Any]:
    seed = {} if trial.seed is None else {"seed": trial.seed}
    return {"trial": trial.name, "values": trial.values | seed}


class Judge(Unwritten, FIFOScheduler):  # type: ignore[misc]  # ray has no types here
    """Tells the course of each report and each ending, and the terminal in a line."""

    def __init__(self, course: Course, search: RunFolder, stop: SharedStop) -> None:
        super().__init__()
        self._course, self._search, self._stop = course, search, stop

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if OBJECTIVE not in result:  # Tune's own last word
            return str(TrialScheduler.CONTINUE)
        name, tasks, objective = _name(trial), int(result[RUNG]), float(result[OBJECTIVE])
        is_news = tasks > len(self._course.state.trials[name].reports)
        stops = self._course.reported(name, tasks, objective)
        if is_news:
            num_tasks, status = self._course.state.num_tasks, self._course.state.trials[name].status
            end = {"stopped": ": stopped", "waiting": ": waits for its replicates"}.get(status, "")
            print(f"{name}: task {tasks}/{num_tasks} done, val accuracy {100 * objective:.2f} %{end}", flush=True)
            self._stop_replicates(controller, trial)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._ended(controller, trial, "the driver ended without a result")

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Tune also says so, once the trial is marked, of a driver that it is about to start again."""
        if trial.status != trial.ERROR:
            deaths = counted(trial.num_failures, "time")
            reason = f"retries exhausted: the driver died {deaths}; the last: {_last_error(trial)}"
            self._ended(controller, trial, reason)

    def _ended(self, controller: Any, trial: Any, reason: str) -> None:
        """What the trial's own result.json says; one that died early has left none, nor a folder."""
        name = _name(trial)
        if self._course.state.trials[name].status != "running":  # stopped, or it waits for its replicates
            return
        self._search.keeper.refresh()
        folder = RunFolder(self._search.path / TRIALS / name)
        result = folder.read_result() or {"exit_code": Failure.exit_code, "reason": reason}
        if result["exit_code"] == Interrupted.exit_code and self._stop.requested:
            return  # the next command goes on with it
        self._course.ended(name, result["exit_code"], result["reason"], objectives(folder))
        print(f"{name}: {'ended' if result['exit_code'] == 0 else 'failed: ' + result['reason']}", flush=True)
        self._stop_replicates(controller, trial)

    def _stop_replicates(self, controller: Any, trial: Any) -> None:
        """Those that this trial's verdict or failure ended, now: they may be hours from their next report."""
        for other in list(controller.get_live_trials()):
            if other is not trial and self._course.state.trials[_name(other)].is_over:
                controller.stop_trial(other)


def _last_error(trial: Any) -> str:
    """As Tune keeps it on this host, long before it is where `get_error` looks."""
    file = trial.pickled_error_file
    return first_line(pickle.loads(Path(file).read_bytes())) if file else "no error that Ray knows of"


class Spent(Unwritten, tune.Stopper):  # type: ignore[misc]  # ray has no types here
    """Ends everything once a budget of time is used up."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._course.spent_up() is not None


class EndIfUnwanted(tune.Callback):  # type: ignore[misc]  # ray has no types here
    """A search that nobody waits for any more ends at its next step, while there still is a Ray."""

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        end_if_unwanted()


class PassTime(Unwritten, tune.Callback):  # type: ignore[misc]  # ray has no types here
    """Lets the course note that its trials run."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._course.pass_time()


class FreeAbandoned(tune.Callback):  # type: ignore[misc]  # ray has no types here
    """What stopped and killed trials held can be had again."""

    def __init__(self) -> None:
        self._looked = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            free_abandoned()
            self._looked = time.monotonic()


def _drive(sample: dict[str, Any], base: dict[str, Any], directory: str, search: str) -> None:
    """The trial's driver: a small actor that starts the worker group and waits.

    A failure with a reason is left in result.json and not raised: Tune would start the driver again.
    """
    enter(directory)
    name = sample["trial"]
    with opened(search, View(without_tensors, (f"{TRIALS}/{name}", f"logs/{STOP_FILE}"))) as storage:
        folder = storage.run(TRIALS, name)
        with suppress(Failure), outcome_kept(folder):
            config = apply(schema.RunConfig.model_validate(base), sample["values"] | {"run.name": name})
            check_run(config, folder)
            report = partial(_report_again, folder)
            if folder.read_finished() is not None:
                report()
                return
            folder.result.unlink(missing_ok=True)  # how an earlier command ended
            open_run(config, folder)
            stop = SharedStop(storage.path / "logs")
            fit(config, folder, callbacks=[TuneReportCallback()], stop=stop, before_attempt=report)


def _report_again(folder: RunFolder) -> None:
    """What an earlier driver or attempt may have been killed before it told Tune; what was told counts once."""
    for tasks, objective in enumerate(objectives(folder), 1):
        tune.report({OBJECTIVE: objective, RUNG: tasks})
