"""A search on Ray Tune: every trial a multi-worker run that sees validation pictures only.

The best configuration is then refitted once on training and validation pictures and tested once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from hlgp_dist.config import schema, search_options
from hlgp_dist.config.identity import place_of
from hlgp_dist.config.load import apply
from hlgp_dist.config.places import absolute, joined
from hlgp_dist.config.space import assignment, combinations
from hlgp_dist.config.write import dump
from hlgp_dist.errors import FAILURES, ConfigError, DataError
from hlgp_dist.files import as_csv, sweep, write_json, write_text
from hlgp_dist.launch.cluster import devices_of_run, ray_cluster
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.packing import gpu_share, with_share
from hlgp_dist.launch.prepare import check_content, check_contract, refuse_other
from hlgp_dist.launch.room import TrialRoom, await_placeable
from hlgp_dist.launch.stop import STOP_FILE, SharedStop, Stop, attended
from hlgp_dist.launch.storage import Storage, View, journals, without_details
from hlgp_dist.launch.trials import decoded_images, forget_failures_of
from hlgp_dist.launch.tuner import build_tuner
from hlgp_dist.launch.winner import conclude
from hlgp_dist.launch.worker import outcome_kept
from hlgp_dist.train.folder import BEST, TRIALS, RunFolder
from hlgp_dist.train.preflight import check_fit, check_weights, preflight
from hlgp_dist.tuning.course import Course
from hlgp_dist.tuning.runs import costly_values, refit_config, trial_config

FITTED = ("backbone.", "method.", "optimizer.schedule.", "train.")
"""What has to fit the backbone's depth, the classes and the pictures."""
FETCHED = View(without_details, messages=(f"logs/{STOP_FILE}",))
"""A stop of an earlier command's too, or it would not be cleared."""
log = logging.getLogger(__name__)
Show = Callable[[RunFolder, list[dict[str, Any]]], None]


def run_search(
    config: schema.RunConfig, stem: str, show: Show, stop: Stop | None = None
) -> tuple[RunFolder, dict[str, Any]]:
    """Search, refit the winner, and return the folder and what result.json in it holds.

    `show(folder, rows)` is called with the table of trials before the refit. Where some trials failed the outcome is
    valid and says so: see `check_outcome`.

    Raises:
        Failure: all trials failed, the checks refuse the search, or it was interrupted; result.json says why.
    """
    assert config.search is not None, "the command line asks for a search section"
    stop = stop or Stop()
    with opened(place_of(config, stem), FETCHED, stop) as storage:
        folder = storage.run()
        return folder, _run_search(config, storage, folder, show, stop)


def _run_search(
    config: schema.RunConfig, storage: Storage, folder: RunFolder, show: Show, stop: Stop
) -> dict[str, Any]:
    refuse_other(config, folder, include_search=True)
    finished = folder.read_finished()
    if finished is not None:
        return _finished_before(config, folder, finished, show)
    trial, num_tasks = check_search(config, folder.place)
    with storage.alone():
        finished = folder.read_finished()  # by another process, since we looked
        if finished is not None:
            return _finished_before(config, folder, finished, show)
        folder.logs.mkdir(exist_ok=True)
        write_text(folder.config, dump(config))
        with outcome_kept(folder):
            outcome = _search(config, trial, folder, num_tasks, show, stop)
        write_json(folder.result, outcome)
    return outcome


def _finished_before(
    config: schema.RunConfig, folder: RunFolder, finished: dict[str, Any], show: Show
) -> dict[str, Any]:
    check_content(config, folder, finished["test"])
    log.warning("%s was finished before: nothing is run", folder)
    show(folder, finished["trials"])
    return finished


def check_search(config: schema.RunConfig, place: str) -> tuple[schema.RunConfig, int]:
    """What every trial of the search at a path or URL varies, and how many tasks it has.

    Raises:
        ConfigError: the winner's run, the rungs or a trial would not fit.
        ContractBroken: the method is a plug-in that breaks it.
        DataError: data or weights are missing or do not fit.
    """
    assert config.search is not None
    preflight(refit_config(config, place, {}))
    trial = trial_config(config, joined(absolute(place), TRIALS))
    num_tasks = len(check_fit(trial))
    _check_rungs(config.search, num_tasks)
    _check_trials(trial, config.search.space)
    check_contract(config.method)
    return trial, num_tasks


def check_outcome(outcome: dict[str, Any]) -> None:
    """Raise what result.json says, once the outcome has been shown: some trials failed, or a budget was reached."""
    if outcome["exit_code"]:
        raise FAILURES[outcome["exit_code"]](outcome["reason"])


def _check_rungs(search: search_options.Search, num_tasks: int) -> None:
    scheduler = search.scheduler
    if isinstance(scheduler, search_options.Asha) and scheduler.grace_tasks >= num_tasks:
        raise ConfigError(
            f"search.scheduler.grace_tasks = {scheduler.grace_tasks}: must be less than the {num_tasks} tasks, "
            "or no trial is ever stopped; scheduler.kind: fifo says so"
        )


def _check_trials(trial: schema.RunConfig, space: Mapping[str, search_options.Domain]) -> None:
    """Refuse a space some of whose trials would not fit backbone and data: those of the keys that have a say there."""
    fitted = {key: domain for key, domain in space.items() if key.startswith(FITTED)}
    for values in combinations(fitted) if fitted else ():
        varied = apply(trial, values)
        try:
            check_fit(varied)
            check_weights(varied.backbone)
        except (ConfigError, DataError) as error:
            raise type(error)(f"search.space: {assignment(values)} is no valid trial: {error}") from error


def _search(
    config: schema.RunConfig, trial: schema.RunConfig, folder: RunFolder, num_tasks: int, show: Show, stop: Stop
) -> dict[str, Any]:
    assert config.search is not None
    search = config.search
    with ray_cluster(config.launch, stop):
        shared = SharedStop(folder.logs, stop)
        shared.clear()
        attended(lambda: await_placeable(config.launch, stop), stop)
        share = gpu_share(config.launch, (apply(trial, values) for values in costly_values(search)))
        config, trial = with_share(config, share), with_share(trial, share)
        devices, publish = devices_of_run(config.launch), folder.keeper.publish
        with closing(Course(folder.path, search, num_tasks, devices, publish=publish)) as course:
            tuner = build_tuner(trial, config, folder, course, TrialRoom(config), shared)
            attended(tuner.fit, stop, meanwhile=shared.pass_on)
            stop.check("with its trials saved")
            budget = course.conclude()
            spent = {"gpu_hours": course.gpu_hours(), "wall_hours": course.wall_hours()}
        state = course.state
        folder.keeper.refresh()
        forget_failures_of(
            folder.path / TRIALS, {name for name, trial in state.trials.items() if trial.status != "failed"}
        )
        rows = state.rows()
        write_text(folder.path / "trials.csv", as_csv(rows))
        show(folder, rows)
        outcome = conclude(config, folder, state, budget, stop) | {"spent": spent, "trials": rows}
        sweep(folder.path)
        with opened(folder.place, View(journals)) as whole:
            runs = [whole.run(BEST), *(whole.run(TRIALS, name) for name in state.trials)]
            return outcome | {"decoded_images": sum(map(decoded_images, runs))}
