"""The end of a search: its best configuration is refitted on training and validation pictures and tested once."""

from __future__ import annotations

from typing import Any

from hlgp_dist.config import schema
from hlgp_dist.config.identity import difference
from hlgp_dist.config.places import joined
from hlgp_dist.errors import BudgetReached, Failure, TrialsFailed, counted
from hlgp_dist.launch.judge import OBJECTIVE
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.prepare import former_config
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import View, without_tensors
from hlgp_dist.train.folder import BEST, RunFolder
from hlgp_dist.train.result import failed
from hlgp_dist.tuning.runs import refit_config
from hlgp_dist.tuning.state import SearchState


def conclude(
    config: schema.RunConfig, folder: RunFolder, state: SearchState, budget: str | None, stop: Stop | None = None
) -> dict[str, Any]:
    """Refit the best finished configuration on everything and test it once."""
    finished = state.finished()
    if not finished:
        raise _no_winner(state, budget)
    number = max(finished, key=lambda each: finished[each])
    best = state.configurations()[number][0]
    outcome = _ending(state, budget)
    outcome |= {"best_trial": best.name, "best_values": best.values}
    outcome |= {"objective": OBJECTIVE, "best_objective": finished[number]}
    return outcome | {"test": _refit(config, folder, best.values, stop)}


def _failures(state: SearchState) -> list[str]:
    return [f"{name}: {trial.reason}" for name, trial in state.trials.items() if trial.status == "failed"]


def _no_winner(state: SearchState, budget: str | None) -> Failure:
    failures = _failures(state)
    if budget is not None and not failures:
        return BudgetReached(f"{budget} before any trial finished; raise it and the same command goes on")
    return TrialsFailed(f"no trial finished: {'; '.join(failures[:3]) or 'see the logs'}")


def _ending(state: SearchState, budget: str | None) -> dict[str, Any]:
    """Exit code and reason of a search that has a winner."""
    failures = _failures(state)
    if failures:
        reason = f"{len(failures)} of {counted(len(state.trials), 'trial')} failed, first {failures[0]}"
        return failed(TrialsFailed("; ".join(filter(None, [reason, budget]))))
    if budget is not None:
        return failed(BudgetReached(f"{budget}; the results are valid, raise it and the same command goes on"))
    return {"exit_code": 0, "reason": "done"}


def _refit(config: schema.RunConfig, folder: RunFolder, values: dict[str, Any], stop: Stop | None) -> dict[str, Any]:
    """The result of the best values on training and validation pictures; an earlier winner's refit makes way."""
    refit = refit_config(config, folder.place, values)
    with opened(joined(folder.place, BEST), View(without_tensors), stop) as best:
        former = former_config(best.run().config)
        if former is not None and difference(former, refit).identity:
            with best.alone():
                best.clear()
    _, result = start_run(refit, BEST, stop)
    return result
