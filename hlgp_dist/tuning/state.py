"""The state of a search, a pure function of its events: replaying SEARCH/trials.jsonl gives it back exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any, Literal

from hlgp_dist.config.search_options import Search
from hlgp_dist.errors import ConfigError, DataError, NonFiniteLoss
from hlgp_dist.tuning.observation import Observation
from hlgp_dist.tuning.record import Event
from hlgp_dist.tuning.rungs import Rungs, stratum_of
from hlgp_dist.tuning.trial import Trial, replicates

FOR_GOOD = (ConfigError.exit_code, DataError.exit_code, NonFiniteLoss.exit_code)
"""Failures that the same trial would have again."""


class SearchState:
    """Trials, rungs and time spent. `apply` is the only way to change it."""

    def __init__(self, search: Search, num_tasks: int, events: Iterable[Event] = ()) -> None:
        self._search = search
        self.num_tasks = num_tasks
        self.rungs = Rungs(search.scheduler, num_tasks)
        self.trials: dict[str, Trial] = {}
        self._members: dict[int, list[Trial]] = {}
        self.device_seconds = 0.0
        """Of all trials, each hour at the devices that a trial then held."""
        self.wall_seconds = 0.0
        """Of all sessions, up to the last event; `alive` and `left` are there for it alone."""
        self._clock, self._devices = 0.0, 0.0
        for event in events:
            self.apply(event)

    def rows(self) -> list[dict[str, Any]]:
        """The table of trials. With `search.old_task_fraction` all tests between the first and the last are in part."""
        sampled = range(2, self.num_tasks) if self._search.old_task_fraction is not None else range(0)
        return [trial.row(sampled) for trial in self.trials.values()]

    def apply(self, event: Event) -> None:
        """One event, in the order they happened."""
        if event["event"] != "opened":  # a session's first: between two of them nothing ran
            self._pass_time(max(0.0, event["time"] - self._clock))
        self._clock = event["time"]
        changes: dict[str, Callable[[Event], None]] = {
            "opened": self._open,
            "proposed": self._propose,
            "started": self._start,
            "reported": self._report,
            "held": self._hold,
            "ended": self._end,
            "closed": self._close,
            "alive": _only_time,
            "left": _only_time,
        }
        changes[event["event"]](event)

    def _pass_time(self, seconds: float) -> None:
        self.wall_seconds += seconds
        for trial in self.running():
            trial.seconds += seconds
            self.device_seconds += seconds * self._devices

    def _open(self, event: Event) -> None:
        """What was interrupted goes on, what failed by no fault of its own is tried again, with its replicates."""
        self._devices = event["devices"]
        for members in self.configurations().values():
            again = any(trial.status == "failed" and trial.exit_code not in FOR_GOOD for trial in members)
            for trial in members:
                if not trial.is_over or (again and (trial.status == "failed" or trial.reason)):
                    trial.status, trial.reason = "waiting", ""

    def _propose(self, event: Event) -> None:
        members = replicates(self._search, event["configuration"], event["values"])
        self._members[event["configuration"]] = members
        self.trials |= {trial.name: trial for trial in members}

    def _start(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.is_begun = "running", True

    def _report(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        self._add(trial, event["objective"])
        if event["stops"]:
            self._stop_all(trial.configuration, "")

    def _add(self, trial: Trial, objective: float) -> None:
        """A report, with which those to come are compared where it completes a rung."""
        value = self.rung_value(trial, objective)
        trial.reports.append(objective)
        if value is not None:
            self.rungs.record(stratum_of(trial.values), len(trial.reports), trial.configuration, value)

    def rung_value(self, trial: Trial, objective: float) -> float | None:
        """The mean over the replicates at a rung, if the trial's next report completes one."""
        others = [other for other in self.configurations()[trial.configuration] if other is not trial]
        tasks = len(trial.reports) + 1
        if tasks not in self.rungs.levels or any(len(other.reports) < tasks for other in others):
            return None
        return fmean([objective, *(other.reports[tasks - 1] for other in others)])

    def is_at_rung(self, trial: Trial) -> bool:
        """Whether it has come to a rung where its configuration waits for other replicates."""
        tasks, others = len(trial.reports), self.configurations()[trial.configuration]
        return tasks in self.rungs.levels and any(len(other.reports) < tasks and not other.is_over for other in others)

    def _hold(self, event: Event) -> None:
        self.trials[event["trial"]].status = "waiting"

    def _end(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.reason, trial.exit_code = event["status"], event["reason"], event["exit_code"]
        for objective in event["reports"]:
            self._add(trial, objective)
        if trial.status == "failed":
            self._stop_all(trial.configuration, f"{trial.name} failed")

    def _stop_all(self, configuration: int, reason: str) -> None:
        for member in self.configurations()[configuration]:
            if not member.is_over:
                member.status, member.reason = "stopped", reason

    def _close(self, event: Event) -> None:
        """The budget is used up."""
        for trial in self.trials.values():
            if not trial.is_over:
                trial.status, trial.reason = "cut", event["reason"]

    def running(self) -> list[Trial]:
        """Those at work; the workers of one that was told to leave are gone within seconds."""
        return [trial for trial in self.trials.values() if trial.status == "running"]

    def configurations(self) -> dict[int, list[Trial]]:
        """The replicates of each configuration."""
        return self._members

    def observations(self) -> list[Observation]:
        """What a search algorithm may learn from."""
        return [_observed(members) for members in self.configurations().values()]

    def finished(self) -> dict[int, float]:
        """The mean objective after the last task, of each configuration all of whose replicates got there."""
        return {
            number: fmean(trial.reports[-1] for trial in members)
            for number, members in self.configurations().items()
            if all(trial.status == "done" for trial in members)
        }


def _only_time(event: Event) -> None:
    """Has passed."""


def _observed(members: list[Trial]) -> Observation:
    tasks = min(len(trial.reports) for trial in members)
    objectives = [fmean(trial.reports[task] for trial in members) for task in range(tasks)]
    return Observation(members[0].values, _state_of({trial.status for trial in members}), objectives)


def _state_of(statuses: set[str]) -> Literal["running", "done", "stopped", "failed"]:
    if "failed" in statuses:
        return "failed"
    if "stopped" in statuses:
        return "stopped"
    return "done" if statuses == {"done"} else "running"
