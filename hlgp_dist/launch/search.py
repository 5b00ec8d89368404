"""A search on Ray Tune: every trial a multi-worker run that sees validation pictures only.

The best configuration is then refitted once on training and validation pictures and tested once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from hlgp_dist.config import schema
from hlgp_dist.config.identity import difference, run_name
from hlgp_dist.config.load import apply
from hlgp_dist.config.space import assignment, combinations
from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError, TrialsFailed
from hlgp_dist.files import write_json, write_text
from hlgp_dist.launch.cluster import attended, enter, ray_cluster, runs_at_once
from hlgp_dist.launch.prepare import check_content, check_run, former_config, open_run, refuse_other
from hlgp_dist.launch.ray_run import fit
from hlgp_dist.launch.start import alone, start_run
from hlgp_dist.launch.trials import Ended, as_csv, first_line, forget_stopped, trial_rows
from hlgp_dist.launch.worker import forget_failures, outcome_kept
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.preflight import check_fit, preflight
from hlgp_dist.train.result import failed

OBJECTIVE = "val/average_accuracy"
"""Mean over the tasks seen, of the validation part held out of each task's training pictures."""
HEAD_NODE = "node:__internal_head__"
"""Ray's own resource of the head: a trial's driver reserves no CPU, but Tune wants it to reserve something."""
RUNG = "tasks_finished"
FITTED = ("backbone.", "method.", "optimizer.schedule.", "train.")
"""What has to fit the backbone's depth, the classes and the pictures."""
log = logging.getLogger(__name__)
Show = Callable[[Path, list[dict[str, Any]]], None]


def run_search(config: schema.RunConfig, stem: str, show: Show) -> tuple[Path, dict[str, Any]]:
    """Search, refit the winner, and return the folder and what result.json in it holds.

    `show(folder, rows)` is called with the table of trials before the refit. Where some trials failed the outcome is
    valid and says so: see `check_trials`.

    Raises:
        Failure: all trials failed, the checks refuse the search, or it was interrupted; result.json says why.
    """
    assert config.search is not None, "the command line asks for a search section"
    folder = Path(config.run.dir) / run_name(config, stem, include_search=True)
    refuse_other(config, RunFolder(folder), include_search=True)
    finished = RunFolder(folder).read_finished()
    if finished is not None:
        check_content(config, RunFolder(folder), finished["test"])
        log.warning("%s was finished before: nothing is run", folder)
        show(folder, finished["trials"])
        return folder, finished
    trial = trial_config(config, folder)
    num_tasks = len(preflight(trial))
    _check_rungs(config.search, num_tasks)
    _check_trials(trial, config.search.space)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        write_text(folder / "config.yaml", dump(config))
        with outcome_kept(RunFolder(folder)):
            outcome = _search(config, trial, folder, num_tasks, show)
        write_json(folder / "result.json", outcome)
    return folder, outcome


def check_trials(outcome: dict[str, Any]) -> None:
    """Raise TrialsFailed if some did, once the outcome has been shown."""
    if outcome["exit_code"] == TrialsFailed.exit_code:
        raise TrialsFailed(outcome["reason"])


def _check_rungs(search: schema.Search, num_tasks: int) -> None:
    scheduler = search.scheduler
    if isinstance(scheduler, schema.Asha) and scheduler.grace_tasks >= num_tasks:
        raise ConfigError(
            f"search.scheduler.grace_tasks = {scheduler.grace_tasks}: must be less than the {num_tasks} tasks, "
            "or no trial is ever stopped; scheduler.kind: fifo says so"
        )


def _check_trials(trial: schema.RunConfig, space: Mapping[str, schema.Domain]) -> None:
    """Refuse a space some of whose trials would not fit backbone and data: those of the keys that have a say there."""
    for values in combinations({key: domain for key, domain in space.items() if key.startswith(FITTED)}):
        try:
            check_fit(apply(trial, values))
        except ConfigError as error:
            raise ConfigError(f"search.space: {assignment(values)} is no valid trial: {error}") from error


def _search(
    config: schema.RunConfig, trial: schema.RunConfig, folder: Path, num_tasks: int, show: Show
) -> dict[str, Any]:
    assert config.search is not None
    with ray_cluster(config.launch):
        tuner = _tuner(trial, config, folder, num_tasks, runs_at_once(config.launch))
        ended = {Path(result.path).name: _ended(result) for result in attended(tuner.fit)}
        forget_stopped(folder / "trials", {name for name, trial in ended.items() if trial.error is not None})
        rows = trial_rows(folder / "trials", ended)
        write_text(folder / "trials.csv", as_csv(rows))
        show(folder, rows)
        return _conclude(config, folder, rows)


def _ended(result: Any) -> Ended:
    return Ended(result.config, None if result.error is None else first_line(result.error))


def trial_config(config: schema.RunConfig, folder: Path) -> schema.RunConfig:
    """The run that every trial varies: it holds a validation part out and runs inside the search's Ray."""
    assert config.search is not None
    return apply(
        config,
        {
            "search": None,
            "benchmark.validation_fraction": config.search.validation_fraction,
            "run.dir": str((folder / "trials").absolute()),
            "run.resume": "auto",
            "launch.kind": "ray",
            "launch.driver_resource": None,
            "telemetry.varied": list(config.search.space),
        },
    )


def _tuner(trial: schema.RunConfig, config: schema.RunConfig, folder: Path, num_tasks: int, slots: int) -> tune.Tuner:
    assert config.search is not None
    search, driver = config.search, {"CPU": 0, config.launch.driver_resource or HEAD_NODE: 0.001}
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_drive, trial=trial.model_dump(mode="json"), directory=str(Path.cwd())), driver
        ),
        param_space={key: _domain(domain) for key, domain in search.space.items()},
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode="max",
            num_samples=search.num_samples,
            search_alg=BasicVariantGenerator(
                random_state=search.seed, max_concurrent=min(slots, search.max_concurrent_trials or slots)
            ),
            scheduler=_scheduler(search.scheduler, num_tasks),
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str((folder / "logs").absolute()),
            callbacks=[Narrator(num_tasks)],
            verbose=0,
        ),
    )


class Narrator(tune.Callback):  # type: ignore[misc]  # ray has no types here
    """One line on the terminal for each task that a trial finishes, so that a long search can be watched."""

    def __init__(self, num_tasks: int) -> None:
        self._num_tasks = num_tasks

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        accuracy = 100 * result[OBJECTIVE]
        print(f"{trial}: task {result[RUNG]}/{self._num_tasks} done, val accuracy {accuracy:.2f} %", flush=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        print(f"{trial}: ended", flush=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        print(f"{trial}: failed", flush=True)


def _trial_name(trial: Any) -> str:
    return "trial-" + str(trial.trial_id).rpartition("_")[2]


def _domain(domain: schema.Domain) -> Any:
    if isinstance(domain, schema.Choice):
        return tune.choice(list(domain.choice))
    if isinstance(domain, schema.Uniform):
        return tune.uniform(*domain.uniform)
    if isinstance(domain, schema.LogUniform):
        return tune.loguniform(*domain.loguniform)
    return tune.grid_search(list(domain.grid))


def _scheduler(scheduler: schema.Asha | schema.Fifo, num_tasks: int) -> TrialScheduler:
    if isinstance(scheduler, schema.Fifo):
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr=RUNG,
        max_t=num_tasks + 1,
        grace_period=scheduler.grace_tasks,
        reduction_factor=scheduler.reduction_factor,
    )


def _drive(sample: dict[str, Any], trial: dict[str, Any], directory: str) -> None:
    """The trial's driver: a small actor that starts the worker group and waits."""
    name, base = tune.get_context().get_trial_name(), schema.RunConfig.model_validate(trial)
    folder = RunFolder(Path(base.run.dir) / name)
    with outcome_kept(folder):
        enter(directory)
        config = apply(base, sample | {"run.name": name})
        check_run(config, name)
        open_run(config, folder)
        forget_failures(folder)
        fit(config, folder, callbacks=[TuneReportCallback()])


def _conclude(config: schema.RunConfig, folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Refit the best finished trial on everything and test it once."""
    assert config.search is not None
    finished = [row for row in rows if row["status"] == "done"]
    failures = [row for row in rows if row["status"] == "failed"]
    if not finished:
        reasons = "; ".join(f"{row['trial']}: {row['reason']}" for row in failures[:3])
        raise TrialsFailed(f"no trial finished: {reasons or 'see the logs'}")
    best = max(finished, key=lambda row: row["objective"])
    values = {key: best[key] for key in config.search.space}
    outcome: dict[str, Any] = {"exit_code": 0, "reason": "done"}
    if failures:
        first = failures[0]
        reason = f"{len(failures)} of {len(rows)} trials failed, first {first['trial']}: {first['reason']}"
        outcome = failed(TrialsFailed(reason))
    outcome |= {"best_trial": best["trial"], "best_values": values}
    outcome |= {"objective": OBJECTIVE, "best_objective": best["objective"]}
    return outcome | {"test": _refit(config, folder, values), "trials": rows}


def _refit(config: schema.RunConfig, folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The result of the best values on training and validation pictures; an earlier winner's refit makes way."""
    place = {"search": None, "run.dir": str(folder), "run.name": "best", "run.resume": "auto"}
    launch = {"launch.kind": "ray", "launch.driver_resource": None}
    refit = apply(config, values | place | launch | {"telemetry.varied": list(values)})
    best = RunFolder(folder / "best")
    former = former_config(best.config)
    if former is not None and difference(former, refit).identity:
        shutil.rmtree(best.path)
    _, result = start_run(refit, "best")
    return result
