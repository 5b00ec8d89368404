"""A search on Ray Tune: every trial a multi-worker run that sees validation pictures only.

The best configuration is then refitted once on training and validation pictures and tested once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from hlgp_dist.config import schema
from hlgp_dist.config.identity import run_name
from hlgp_dist.config.load import apply
from hlgp_dist.config.write import dump
from hlgp_dist.errors import Failure, TrialsFailed
from hlgp_dist.launch.cluster import ray_cluster, runs_at_once
from hlgp_dist.launch.prepare import prepare_run
from hlgp_dist.launch.ray_run import fit
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.worker import forget_failures
from hlgp_dist.train.folder import RunFolder, write_json, write_text
from hlgp_dist.train.preflight import preflight
from hlgp_dist.train.result import failed

OBJECTIVE = "val/average_accuracy"
"""Mean over the tasks seen, of the validation part held out of each task's training pictures."""
HEAD_NODE = "node:__internal_head__"
"""Ray's own resource of the head: a trial's driver reserves no CPU, but Tune wants it to reserve something."""
RUNG = "tasks_finished"
Show = Callable[[Path, list[dict[str, Any]]], None]


def run_search(config: schema.RunConfig, stem: str, show: Show) -> tuple[Path, dict[str, Any]]:
    """Search, refit the winner, and return its folder and what result.json in it holds.

    `show(folder, rows)` is called with the table of trials before the refit.

    Raises:
        TrialsFailed: some trials failed; the result is written and valid all the same.
        Failure: all trials failed, or the checks refuse the search.
    """
    assert config.search is not None, "the command line asks for a search section"
    folder = Path(config.run.dir) / run_name(config, stem)
    trial = trial_config(config, folder)
    num_tasks = len(preflight(trial).tasks)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", dump(config))
    with ray_cluster(config.launch):
        _tuner(trial, config.search, folder, num_tasks, runs_at_once(config.launch)).fit()
        rows = trial_rows(folder / "trials", config.search)
        write_text(folder / "trials.csv", _as_csv(rows))
        show(folder, rows)
        return folder, _conclude(config, folder, rows)


def trial_config(config: schema.RunConfig, folder: Path) -> schema.RunConfig:
    """The run that every trial varies: it holds a validation part out and runs inside the search's Ray."""
    assert config.search is not None
    held_out = {"benchmark.validation_fraction": config.search.validation_fraction, "search": None}
    return apply(config, held_out | {"run.dir": str((folder / "trials").absolute()), "launch.kind": "ray"})


def _tuner(trial: schema.RunConfig, search: schema.Search, folder: Path, num_tasks: int, slots: int) -> tune.Tuner:
    driver = {"CPU": 0, trial.launch.driver_resource or HEAD_NODE: 0.001}
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_drive, trial=trial.model_dump(mode="json")), driver),
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
        run_config=tune.RunConfig(name="ray", storage_path=str((folder / "logs").absolute()), verbose=0),
    )


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


def _drive(sample: dict[str, Any], trial: dict[str, Any]) -> None:
    """The trial's driver: a small actor that starts the worker group and waits."""
    name = tune.get_context().get_trial_name()
    config = apply(schema.RunConfig.model_validate(trial), sample | {"run.name": name})
    folder = RunFolder(Path(config.run.dir) / name)
    write_json(folder.path / "sample.json", sample)
    try:
        prepare_run(config, name)
        forget_failures(folder)
        fit(config, folder, callbacks=[TuneReportCallback()])
    except Failure as failure:
        write_json(folder.result, failed(failure))
        raise


def trial_rows(folder: Path, search: schema.Search) -> list[dict[str, Any]]:
    """One row a trial: what was sampled, how far it came, its objective and, if it failed, why."""
    rows = []
    for path in sorted(folder.glob("trial-*")):
        sample = json.loads((path / "sample.json").read_text())
        result = RunFolder(path).read_result()
        row: dict[str, Any] = {"trial": path.name} | {key: sample[key] for key in search.space}
        rows.append(row | _outcome(path, result))
    return rows


def _outcome(path: Path, result: dict[str, Any] | None) -> dict[str, Any]:
    reports = validation_history(path)
    status = "stopped" if result is None else "done" if result["exit_code"] == 0 else "failed"
    return {
        "status": status,
        "tasks_finished": len(reports),
        "objective": reports[-1] if reports else None,
        "reason": result["reason"] if result is not None and status == "failed" else "",
    }


def validation_history(path: Path) -> list[float]:
    """The objective after each finished task of a trial, from its accuracy matrix."""
    matrix = path / "accuracy_matrix.csv"
    if not matrix.is_file():
        return []
    with open(matrix, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [fmean(float(cell) for cell in row[1:] if cell) for row in rows]


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["trial"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _conclude(config: schema.RunConfig, folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Refit the best finished trial on everything, test it once, and write SEARCH/result.json."""
    assert config.search is not None
    finished = [row for row in rows if row["status"] == "done"]
    failures = [row for row in rows if row["status"] == "failed"]
    if not finished:
        reasons = "; ".join(f"{row['trial']}: {row['reason']}" for row in failures[:3])
        failure = TrialsFailed(f"no trial finished: {reasons or 'see the logs'}")
        write_json(folder / "result.json", failed(failure) | {"trials": rows})
        raise failure
    best = max(finished, key=lambda row: row["objective"])
    values = {key: best[key] for key in config.search.space}
    refit = apply(config, values | {"search": None, "run.dir": str(folder), "run.name": "best", "launch.kind": "ray"})
    _, result = start_run(refit, "best")
    outcome = {"exit_code": 0, "reason": "done", "best_trial": best["trial"], "best_values": values}
    outcome |= {"objective": OBJECTIVE, "best_objective": best["objective"], "test": result, "trials": rows}
    if failures:
        failure = TrialsFailed(
            f"{len(failures)} of {len(rows)} trials failed, first {failures[0]['trial']}: {failures[0]['reason']}"
        )
        write_json(folder / "result.json", outcome | failed(failure))
        raise failure
    write_json(folder / "result.json", outcome)
    return outcome
