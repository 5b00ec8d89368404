"""What Ray Tune is told of a search: the space, the scheduler, and a driver that runs one trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from hlgp_dist.config import schema, search_options
from hlgp_dist.config.load import apply
from hlgp_dist.launch.cluster import end_if_unwanted, enter
from hlgp_dist.launch.prepare import check_run, open_run
from hlgp_dist.launch.ray_run import fit
from hlgp_dist.launch.worker import forget_failures, outcome_kept
from hlgp_dist.train.folder import RunFolder

OBJECTIVE = "val/average_accuracy"
"""Mean over the tasks seen, of the validation part held out of each task's training pictures."""
RUNG = "tasks_finished"
HEAD_NODE = "node:__internal_head__"
"""Ray's own resource of the head: a trial's driver reserves no CPU, but Tune wants it to reserve something."""


def build_tuner(
    trial: schema.RunConfig, config: schema.RunConfig, folder: Path, num_tasks: int, slots: int
) -> tune.Tuner:
    """`trial` is what every sample varies; `slots` is how many of them run at a time."""
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
            callbacks=[EndIfUnwanted(), Narrator(num_tasks)],
            verbose=0,
        ),
    )


class EndIfUnwanted(tune.Callback):  # type: ignore[misc]  # ray has no types here
    """A search that nobody waits for any more ends at its next step, while there still is a Ray."""

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        end_if_unwanted()


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


def _domain(domain: search_options.Domain) -> Any:
    if isinstance(domain, search_options.Choice):
        return tune.choice(list(domain.choice))
    if isinstance(domain, search_options.Uniform):
        return tune.uniform(*domain.uniform)
    if isinstance(domain, search_options.LogUniform):
        return tune.loguniform(*domain.loguniform)
    return tune.grid_search(list(domain.grid))


def _scheduler(scheduler: search_options.Asha | search_options.Fifo, num_tasks: int) -> TrialScheduler:
    if isinstance(scheduler, search_options.Fifo):
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
