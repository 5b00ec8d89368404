"""What Ray Tune is told of a search: a course decides what to start and what to stop, drivers run the trials.

Tune keeps no state of its own that matters: killed anywhere, a new Tuner over the same course goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from hlgp_dist.config import schema
from hlgp_dist.config.load import apply
from hlgp_dist.config.places import absolute
from hlgp_dist.data.patience import insist
from hlgp_dist.errors import Failure
from hlgp_dist.launch.abandoned import free_abandoned
from hlgp_dist.launch.cluster import enter
from hlgp_dist.launch.judge import OBJECTIVE, PLACE, RUNG, Judge, Unwritten, name_of
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.prepare import check_run, open_run
from hlgp_dist.launch.ray_run import fit
from hlgp_dist.launch.reports import Reports, passed_on
from hlgp_dist.launch.room import HEAD_NODE, LOOK_SECONDS
from hlgp_dist.launch.stop import STOP_FILE, SharedStop, end_if_unwanted
from hlgp_dist.launch.storage import AWAY_SECONDS, View, without_tensors
from hlgp_dist.launch.trials import objectives
from hlgp_dist.launch.worker import outcome_kept
from hlgp_dist.train import host_memory
from hlgp_dist.train.checkpoint import newest_place
from hlgp_dist.train.folder import TRIALS, RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.tuning.course import Course
from hlgp_dist.tuning.trial import Trial


def build_tuner(
    trial: schema.RunConfig,
    config: schema.RunConfig,
    folder: RunFolder,
    course: Course,
    has_room: Callable[[int], bool],
    stop: SharedStop,
) -> tune.Tuner:
    """`trial` is what every proposal varies; `has_room(n)`: whether one more finds room beside n others.

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
            search_alg=Proposer(course, has_room, stop),
            scheduler=Judge(course, folder, stop, config.launch.max_retries),
            trial_name_creator=name_of,
            trial_dirname_creator=name_of,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.logs.absolute()),
            callbacks=[EndIfUnwanted(), FreeAbandoned(), PassTime(course)],
            failure_config=tune.FailureConfig(max_failures=config.launch.max_retries),  # till it saves, see `Judge`
            stop=Spent(course),
            verbose=0,
        ),
    )


class Proposer(Unwritten, Searcher):  # type: ignore[misc]  # ray has no types here
    """Hands Tune the course's next trial when there is room for one."""

    def __init__(self, course: Course, has_room: Callable[[int], bool], stop: SharedStop) -> None:
        super().__init__()
        self._course, self._has_room, self._stop = course, has_room, stop

    def suggest(self, trial_id: str) -> Any:
        if self._stop.requested or self._course.is_exhausted():
            return Searcher.FINISHED
        if not self._has_room(self._course.num_running()):
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

    A failure with a reason is left in result.json, told, and not raised: Tune would start the driver again.
    """
    enter(directory)
    name = sample["trial"]
    heard = (f"{TRIALS}/{name}/logs", f"logs/{STOP_FILE}")
    view = View(without_tensors, (f"{TRIALS}/{name}",), heard, away_seconds=AWAY_SECONDS)
    with passed_on() as reports, opened(search, view) as storage:
        folder = storage.run(TRIALS, name)
        with _told(reports), outcome_kept(folder):
            config = apply(schema.RunConfig.model_validate(base), sample["values"] | {"run.name": name})
            insist(lambda: check_run(config, folder), AWAY_SECONDS)  # other trials run: no reason to fail this one
            host_memory.give_back()  # the head has many drivers
            report = partial(_report_again, reports, folder)
            if folder.read_finished() is not None:
                report()
                return
            folder.result.unlink(missing_ok=True)  # how an earlier command ended
            open_run(config, folder)
            stop = SharedStop(storage.path / "logs")
            fit(config, folder, callbacks=[reports], stop=stop, before_attempt=report)


@contextmanager
def _told(reports: Reports) -> Iterator[None]:
    """A failure is the driver's last word, for a disk may have no room for result.json."""
    try:
        yield
    except Failure as failure:
        reports.tell(failed(failure))


def _report_again(reports: Reports, folder: RunFolder) -> None:
    """What an earlier driver or attempt may have been killed before it told Tune; what was told counts once."""
    reports.tell({PLACE: newest_place(folder.checkpoints)})
    for tasks, objective in enumerate(objectives(folder), 1):
        reports.tell({OBJECTIVE: objective, RUNG: tasks})
