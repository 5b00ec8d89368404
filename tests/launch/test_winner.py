"""How a search ends: by which code, with whose values."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.errors import BudgetReached, TrialsFailed
from hlgp_dist.launch.search import check_outcome
from hlgp_dist.launch.winner import conclude
from tests.jobs import job
from tests.tuning.simulated import Clock, conduct, search_of


@pytest.mark.parametrize(
    ("budget", "failing", "code", "reason"),
    [
        ({}, set(), 0, "done"),
        ({"trials": 2}, set(), 8, "search.budget.trials=2 is reached; the results are valid"),
        ({}, {1}, 7, "1 of 6 trials failed, first trial-00001: no luck"),
        ({"trials": 2}, {1}, 7, "1 of 2 trials failed, first trial-00001: no luck; search.budget.trials=2 is reached"),
    ],
)
def test_code_and_reason(
    budget: dict[str, int],
    failing: set[int],
    code: int,
    reason: str,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hlgp_dist.launch.winner._refit", lambda config, folder, values, stop: values)
    search = search_of(scheduler={"kind": "fifo"}, budget=budget)
    state, spent = conduct(tmp_path, search, clock=Clock(), fails=lambda trial: 3 * (trial.configuration in failing))
    outcome = conclude(job(drawn, tmp_path / "search"), tmp_path, state, spent)
    assert outcome["exit_code"] == code and outcome["reason"].startswith(reason)
    best = max((trial for trial in state.trials.values() if trial.status == "done"), key=lambda t: t.reports[-1])
    assert outcome["best_trial"] == best.name and outcome["test"] == best.values
    assert outcome["best_objective"] == best.reports[-1]
    if code:
        with pytest.raises({7: TrialsFailed, 8: BudgetReached}[code]):
            check_outcome(outcome)


def test_a_budget_that_ends_before_any_trial_does_says_so(drawn: Path, tmp_path: Path) -> None:
    search = search_of(budget={"wall_hours": 2})
    state, spent = conduct(tmp_path, search, clock=Clock(), task_hours=1.0)
    with pytest.raises(BudgetReached, match="wall_hours=2 is reached before any trial finished"):
        conclude(job(drawn, tmp_path / "search"), tmp_path, state, spent)
