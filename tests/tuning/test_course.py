"""The course of a search: killed anywhere it takes the decisions it would have taken, and counts nothing twice."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlgp_dist.errors import ConfigError
from hlgp_dist.tuning.course import FILE, Course
from hlgp_dist.tuning.rungs import stratum_of
from tests.tuning.simulated import LR, NUM_TASKS, Clock, Killed, conduct, replayed, search_of, shown

KINDS: list[dict[str, Any]] = [
    {},
    {"seeds": [3, 5, 7]},
    {"algorithm": {"kind": "optuna", "startup_trials": 2}},
    {"algorithm": {"kind": "optuna", "startup_trials": 1}, "seeds": [0, 1]},
    {"space": {LR: {"grid": [0.001, 0.01, 0.1]}, "method.num_groups": {"choice": [1, 2, 3]}}, "num_samples": 2},
    {"scheduler": {"kind": "fifo"}},
]


@pytest.mark.parametrize("options", KINDS)
@settings(max_examples=15, deadline=None)
@given(deaths=st.lists(st.integers(0, 12), max_size=4))
def test_one_at_a_time_interrupted_takes_the_decisions_of_an_uninterrupted_one(
    options: dict[str, Any], deaths: list[int]
) -> None:
    search = search_of(**options)
    with tempfile.TemporaryDirectory() as quiet, tempfile.TemporaryDirectory() as stormy:
        whole, _ = conduct(Path(quiet), search)
        checkpoints: dict[str, int] = {}
        for death in deaths:
            try:
                conduct(Path(stormy), search, dies_after=death, checkpoints=checkpoints)
            except Killed:
                continue
        state, _ = conduct(Path(stormy), search, checkpoints=checkpoints)
        assert shown(state) == shown(whole)


@pytest.mark.parametrize("options", KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), deaths=st.lists(st.integers(0, 12), max_size=4), at_once=st.integers(2, 4))
def test_several_at_a_time_are_restored_exactly_and_counted_once(
    options: dict[str, Any], seed: int, deaths: list[int], at_once: int
) -> None:
    search, order = search_of(**options), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, checkpoints = Path(name), dict[str, int]()
        for death in [*deaths, None]:
            before = (folder / FILE).read_bytes() if (folder / FILE).is_file() else b""
            try:
                state, _ = conduct(
                    folder, search, at_once=at_once, dies_after=death, order=order, checkpoints=checkpoints
                )
                assert shown(replayed(folder, search)) == shown(state)
            except Killed:
                pass
            assert (folder / FILE).read_bytes().startswith(before), "what was decided stays decided"
        assert all(trial.is_over for trial in state.trials.values())
        assert {len(t.reports) for t in state.trials.values() if t.status == "done"} <= {NUM_TASKS}
        for (_, tasks), rung in state.rungs.table.items():
            for number, value in rung.items():
                members = state.configurations()[number]
                assert value == pytest.approx(np.mean([member.reports[tasks - 1] for member in members]))


def test_a_rung_keeps_the_upper_half(tmp_path: Path) -> None:
    search = search_of(num_samples=12, scheduler={"kind": "asha", "grace_tasks": 2, "reduction_factor": 2})
    state, _ = conduct(tmp_path, search)
    assert state.rungs.levels == (2, 4)
    before: list[float] = []
    for trial in state.trials.values():
        value = trial.reports[1]
        is_low = bool(before) and value < np.quantile(before, 0.5)
        assert (trial.status == "stopped" and len(trial.reports) == 2) == is_low
        before.append(value)
    assert {trial.status for trial in state.trials.values()} == {"done", "stopped"}


def test_reports_that_come_with_the_ending_count_at_rungs(tmp_path: Path) -> None:
    course = Course(tmp_path, search_of(), NUM_TASKS, devices_per_trial=1)
    first, second = course.next_trial(), course.next_trial()
    assert first is not None and second is not None
    course.ended(first.name, 0, "", [0.9] * NUM_TASKS)
    assert course.state.rungs.table == {("", tasks): {0: 0.9} for tasks in course.state.rungs.levels}
    assert course.reported(second.name, 1, 0.1) and second.status == "stopped"


def test_replicates_are_stopped_together_by_their_mean(tmp_path: Path) -> None:
    search = search_of(num_samples=8, seeds=[0, 100])
    state, _ = conduct(tmp_path, search)
    for number, members in state.configurations().items():
        assert [trial.seed for trial in members] == [0, 100] and len({str(trial.values) for trial in members}) == 1
        assert {trial.status for trial in members} in ({"done"}, {"stopped"}), f"configuration {number}"
    means = state.finished()
    best = max(means, key=lambda each: means[each])
    assert means[best] == pytest.approx(np.mean([trial.reports[-1] for trial in state.configurations()[best]]))


@pytest.mark.parametrize(("at_once", "configurations", "replicates"), [(1, 1, 2), (3, 4, 2), (2, 3, 3)])
def test_a_replicate_that_waits_at_a_rung_is_gone_on_with(
    tmp_path: Path, at_once: int, configurations: int, replicates: int
) -> None:
    search = search_of(num_samples=configurations, seeds=list(range(replicates)))
    state, reason = conduct(tmp_path, search, at_once=at_once)
    assert reason is None and len(state.trials) == configurations * replicates
    assert {trial.status for trial in state.trials.values()} <= {"done", "stopped"} and state.finished()


def test_a_failed_replicate_ends_its_configuration(tmp_path: Path) -> None:
    search = search_of(num_samples=2, seeds=[0, 1], scheduler={"kind": "fifo"})
    state, _ = conduct(tmp_path, search, fails=lambda trial: 3 * (trial.name == "trial-00000-seed-0"))
    status = {trial.name: (trial.status, trial.reason) for trial in state.trials.values()}
    assert status["trial-00000-seed-0"] == ("failed", "no luck")
    assert status["trial-00000-seed-1"] == ("stopped", "trial-00000-seed-0 failed")
    assert list(state.finished()) == [1]


def test_backbones_are_not_judged_by_each_other(tmp_path: Path) -> None:
    space = {"backbone.name": {"grid": ["vit_b", "vit_h"]}, LR: {"grid": [0.1, 0.01]}}
    search = search_of(space=space, num_samples=1)
    state, _ = conduct(tmp_path, search)
    strata = {stratum for stratum, _ in state.rungs.table}
    assert strata == {"backbone.name=vit_b", "backbone.name=vit_h"}
    assert [trial.status for trial in state.trials.values()] == ["done", "stopped", "done", "stopped"]
    assert stratum_of({"seed": 1}) == ""


@pytest.mark.parametrize(
    ("exit_code", "again"), [(1, True), (3, False), (2, False), (6, False), (5, True), (4, True), (75, True)]
)
def test_what_may_end_otherwise_is_tried_again_by_the_same_command(tmp_path: Path, exit_code: int, again: bool) -> None:
    search = search_of(num_samples=2, scheduler={"kind": "fifo"})
    conduct(tmp_path, search, fails=lambda trial: exit_code * (trial.configuration == 0))
    state, _ = conduct(tmp_path, search)
    assert [trial.status for trial in state.trials.values()] == ["done" if again else "failed", "done"]


@pytest.mark.parametrize(
    ("budget", "done", "cut", "reason"),
    [
        ({"gpu_hours": 25}, 2, 1, "search.budget.gpu_hours=25 is reached"),  # a trial is 5 hours of 2 GPUs
        ({"wall_hours": 12}, 2, 1, "search.budget.wall_hours=12 is reached"),
        ({"trials": 2}, 2, 0, "search.budget.trials=2 is reached"),
        ({"trials": 6}, 6, 0, None),
        ({"wall_hours": 31}, 6, 0, None),
    ],
)
def test_a_budget_ends_a_search_with_what_it_has_and_a_larger_one_goes_on(
    tmp_path: Path, budget: dict[str, Any], done: int, cut: int, reason: str | None
) -> None:
    options = {"scheduler": {"kind": "fifo"}}
    clock, checkpoints = Clock(), dict[str, int]()
    short = search_of(**options, budget=budget)
    state, said = conduct(tmp_path, short, clock=clock, task_hours=1.0, checkpoints=checkpoints)
    status = [trial.status for trial in state.trials.values()]
    assert said == reason
    assert (status.count("done"), status.count("cut")) == (done, cut)
    clock.seconds += 1e6  # nothing runs between two commands
    state, said = conduct(tmp_path, search_of(**options), clock=clock, task_hours=1.0, checkpoints=checkpoints)
    assert said is None and [trial.status for trial in state.trials.values()] == ["done"] * 6
    assert state.wall_seconds == 3600 * 30 and sum(trial.seconds for trial in state.trials.values()) == 3600 * 30


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_budget_of_trials_pays_for_whole_configurations_only(tmp_path: Path, at_once: int) -> None:
    search = search_of(seeds=[0, 1], scheduler={"kind": "fifo"}, budget={"trials": 5})
    state, said = conduct(tmp_path, search, at_once=at_once)
    assert said == "search.budget.trials=5 is reached"
    assert [trial.status for trial in state.trials.values()] == ["done"] * 4
    with pytest.raises(ValueError, match=r"budget\.trials must be at least 2"):
        search_of(seeds=[0, 1], budget={"trials": 1})


def test_a_budget_counts_over_all_resumes(tmp_path: Path) -> None:
    clock, checkpoints = Clock(), dict[str, int]()
    search = search_of(scheduler={"kind": "fifo"}, budget={"gpu_hours": 25})
    with pytest.raises(Killed):
        conduct(tmp_path, search, clock=clock, task_hours=1.0, checkpoints=checkpoints, dies_after=7)
    state, said = conduct(tmp_path, search, clock=clock, task_hours=1.0, checkpoints=checkpoints)
    assert said is not None
    assert sum(trial.seconds for trial in state.trials.values()) == clock.seconds == 3600 * 13


@pytest.mark.parametrize(("leaves", "lost"), [(True, 0), (False, 60)])
def test_hours_count_though_sessions_are_shorter_than_a_task(tmp_path: Path, leaves: bool, lost: int) -> None:
    """A kill costs the seconds since the last look, a clean end none."""
    clock, search = Clock(), search_of(num_samples=4, budget={"gpu_hours": 25})
    for session in range(7):
        course = Course(tmp_path, search, NUM_TASKS, devices_per_trial=2, now=clock)
        assert course.gpu_hours() == pytest.approx(4 * session * (1 - lost / 3600)) and course.spent_up() is None
        assert [course.next_trial(), course.next_trial()] == list(course.state.trials.values()), "those of before"
        for _ in range(119):
            clock.seconds += 30
            course.pass_time()
        clock.seconds += 30
        assert (course.spent_up() is not None) == (session == 6)
        course.close() if leaves else course._record.close()
        clock.seconds += 1e6  # between two sessions nothing runs


def test_hours_cost_the_devices_that_they_were_run_on(tmp_path: Path) -> None:
    clock, search = Clock(), search_of()
    for devices, spent in ((8.0, 8.0), (1.0, 9.0), (0.5, 9.5)):
        course = Course(tmp_path, search, NUM_TASKS, devices, now=clock)
        assert course.next_trial() is course.state.trials["trial-00000"]
        clock.seconds += 3600
        assert course.gpu_hours() == spent
        course.close()
    assert Course(tmp_path, search, NUM_TASKS, 16.0, now=clock).gpu_hours() == 9.5
    record = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(re.sub(r', "devices": [0-9.]+', "", record))
    assert Course(tmp_path, search, NUM_TASKS, 2.0, now=clock).gpu_hours() == 6.0, "an old file did not say"


def test_a_clock_that_is_put_back_gives_no_hours_back(tmp_path: Path) -> None:
    clock = Clock()
    clock.seconds = 7200.0
    course = Course(tmp_path, search_of(), NUM_TASKS, 1.0, now=clock)
    course.next_trial()
    clock.seconds = 0.0
    assert course.gpu_hours() == course.wall_hours() == 0.0


def test_a_line_torn_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    search = search_of()
    whole, _ = conduct(tmp_path, search)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"schema_version": 1, "event": "rep')
    state, _ = conduct(tmp_path, search)
    assert shown(state) == shown(whole)
    assert (tmp_path / FILE).read_bytes().endswith(b"\n")


def test_a_damaged_record_is_named_with_its_line(tmp_path: Path) -> None:
    conduct(tmp_path, search_of(num_samples=1))
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(b"".join([lines[0], b"?\n", *lines[1:]]))
    with pytest.raises(ConfigError, match=r"trials\.jsonl:2: is no event of a search"):
        conduct(tmp_path, search_of(num_samples=1))
