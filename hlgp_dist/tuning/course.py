"""The course of a search: what to start next and what to stop. Every decision is an event on disk before it counts.

One process at a time conducts a search. When it dies, another one replays the events and goes on: no finished trial
is run again, no rung counts a trial twice, and the next proposal is the one that would have come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hlgp_dist.config.search_options import Search
from hlgp_dist.tuning.proposals import num_configurations, propose
from hlgp_dist.tuning.record import Record
from hlgp_dist.tuning.rungs import stratum_of
from hlgp_dist.tuning.state import SearchState
from hlgp_dist.tuning.trial import Trial, num_replicates

FILE = "trials.jsonl"
ALIVE_SECONDS = 60.0
"""Of a trial that a killed search may lose count of."""


class Course:
    """Conducts a search; `devices_per_trial` is what an hour of a trial costs in GPU-hours."""

    def __init__(
        self,
        folder: Path,
        search: Search,
        num_tasks: int,
        devices_per_trial: float,
        now: Callable[[], float] = time.time,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        self._search, self._devices, self._now = search, devices_per_trial, now
        self._record = Record(folder / FILE, publish)
        before = [{"devices": devices_per_trial} | event for event in self._record.events]  # once they were not noted
        self.state = SearchState(search, num_tasks, before)
        self._tell("opened", devices=devices_per_trial)

    def _tell(self, event: str, **told: Any) -> None:
        whole = {"event": event, "time": self._now(), **told}
        self._record.append(whole)
        self.state.apply(whole)

    def close(self) -> None:
        """What the trials ran since the last event counts, too."""
        try:
            self._tell("left")
        finally:
            self._record.close()

    def pass_time(self) -> None:
        """To be called again and again: a search that is killed between two events has spent its hours all the same."""
        if self._now() - self._last_event() >= ALIVE_SECONDS:
            self._tell("alive")

    def next_trial(self) -> Trial | None:
        """The next to run, which is thereby started: one that was interrupted, a replicate, or a new configuration."""
        if self.is_exhausted() or not (self._ready() or self._may_propose()):
            return None
        if not self._ready():
            number = len(self.state.configurations())
            values = propose(self._search, number, self.state.observations())
            self._tell("proposed", configuration=number, values=values)
        trial = self._ready()[0]
        self._tell("started", trial=trial.name)
        return trial

    def is_exhausted(self) -> bool:
        """Whether nothing will be started any more; as long as a trial runs, a replicate may wait for it at a rung."""
        may_come = self._ready() or self._may_propose() or self.num_running() > 0
        return self.spent_up() is not None or not may_come

    def _ready(self) -> list[Trial]:
        """Trials that may be started: no rung holds them, no budget forbids to begin them."""
        waiting = [trial for trial in self.state.trials.values() if trial.status == "waiting"]
        free = [trial for trial in waiting if not self.state.is_at_rung(trial)]
        begun = self._begun()
        return [trial for trial in free if trial.configuration in begun or self._all_begun() is None]

    def _may_propose(self) -> bool:
        return self._all_begun() is None and self._is_more_to_propose()

    def _is_more_to_propose(self) -> bool:
        return len(self.state.configurations()) < num_configurations(self._search)

    def num_running(self) -> int:
        return len(self.state.running())

    def reported(self, name: str, tasks: int, objective: float) -> bool:
        """A trial has finished tasks; whether it should leave its workers now.

        That may be for good, or until the other replicates come to the same rung, where some have no workers yet. What
        was reported before counts no second time.
        """
        trial = self.state.trials[name]
        if tasks > len(trial.reports) and not trial.is_over:
            assert tasks == len(trial.reports) + 1, f"{name} reports task {tasks} after task {len(trial.reports)}"
            self._tell("reported", trial=name, objective=objective, stops=self._stops(trial, objective))
            if self._is_held(trial):
                self._tell("held", trial=name)
        return trial.status != "running"

    def _is_held(self, trial: Trial) -> bool:
        others = self.state.configurations()[trial.configuration]
        return self.state.is_at_rung(trial) and any(other.status == "waiting" for other in others)

    def _stops(self, trial: Trial, objective: float) -> bool:
        """Whether this report completes a rung below the cut."""
        value = self.state.rung_value(trial, objective)
        tasks = len(trial.reports) + 1
        return value is not None and self.state.rungs.is_below(stratum_of(trial.values), tasks, value)

    def ended(self, name: str, exit_code: int, reason: str, reports: Sequence[float]) -> None:
        """A running trial has ended by itself; `reports` are all of its objectives. Others were told to leave."""
        trial = self.state.trials[name]
        if trial.status != "running":
            return
        status, shown = ("done", "") if exit_code == 0 else ("failed", reason)
        missed = list(reports[len(trial.reports) :])
        self._tell("ended", trial=name, status=status, exit_code=exit_code, reason=shown, reports=missed)

    def conclude(self) -> str | None:
        """At the end: the budget for which trials are missing, if there is one."""
        is_short = self._is_more_to_propose() or any(not trial.is_over for trial in self.state.trials.values())
        if not is_short:
            return None
        reason = self.spent_up() or self._all_begun()
        assert reason is not None, "a search without a budget ends when all of its trials are over"
        self._tell("closed", reason=reason)
        return reason

    def gpu_hours(self) -> float:
        """Of all trials until now."""
        return (self.state.device_seconds + self._pending() * self.num_running() * self._devices) / 3600

    def wall_hours(self) -> float:
        """Of all sessions until now."""
        return (self.state.wall_seconds + self._pending()) / 3600

    def _pending(self) -> float:
        """Seconds since the last event; none where the clock was put back."""
        return max(0.0, self._now() - self._last_event())

    def _last_event(self) -> float:
        last: float = self._record.events[-1]["time"]
        return last

    def spent_up(self) -> str | None:
        """The budget that running trials have used up, if any."""
        budget = self._search.budget
        for key, spent, limit in (
            ("gpu_hours", self.gpu_hours(), budget.gpu_hours),
            ("wall_hours", self.wall_hours(), budget.wall_hours),
        ):
            if limit is not None and spent >= limit:
                return f"search.budget.{key}={limit:g} is reached"
        return None

    def _all_begun(self) -> str | None:
        """The budget that forbids to begin another configuration, if any; those that have begun may go on."""
        limit, more = self._search.budget.trials, num_replicates(self._search)
        if limit is None or sum(self._begun().values()) + more <= limit:
            return None
        return f"search.budget.trials={limit} is reached"

    def _begun(self) -> dict[int, int]:
        """Of each configuration that has begun, how many trials it takes in all: those left have yet to begin."""
        return {
            number: sum(trial.is_begun or not trial.is_over for trial in members)
            for number, members in self.state.configurations().items()
            if any(trial.is_begun for trial in members)
        }
