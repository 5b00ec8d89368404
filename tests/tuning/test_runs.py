"""Which combinations of searched values stand for a search's trials."""

from __future__ import annotations

from collections import Counter

from hlgp_dist.config.load import resolve
from hlgp_dist.tuning.runs import MOST, costly_values, refit_config, trial_config
from hlgp_dist.tuning.state import SearchState
from tests.tuning.simulated import LR, NUM_TASKS, search_of

BACKBONES = ("vit_base_patch16_224", "vit_large_patch16_224")
NUM_GROUPS, BATCH = "method.num_groups", "train.global_batch_size"


def test_few_combinations_are_all_looked_at() -> None:
    space = {NUM_GROUPS: {"choice": [1, 2, 3, 4, 6]}, "backbone.name": {"choice": BACKBONES}, LR: {"uniform": [0.1, 1]}}
    found = costly_values(search_of(space=space))
    assert len(found) == 10 and LR not in found[0]
    assert {(values[NUM_GROUPS], values["backbone.name"]) for values in found} == {
        (groups, name) for groups in (1, 2, 3, 4, 6) for name in BACKBONES
    }
    assert costly_values(search_of()) == [{}]


def test_of_many_every_value_of_every_key_is_looked_at() -> None:
    choices = {NUM_GROUPS: range(1, 13), BATCH: (16, 32, 64), "backbone.name": BACKBONES}
    search = search_of(space={key: {"choice": list(values)} for key, values in choices.items()})
    found = costly_values(search)
    assert len(found) == MOST and found == costly_values(search)
    for key, values in choices.items():
        often = Counter(each[key] for each in found)
        assert set(often) == set(values) and max(often.values()) <= min(often.values()) + 1
    long = search_of(space={"train.epochs": {"choice": list(range(1, 41))}, "backbone.name": {"choice": BACKBONES}})
    assert {values["train.epochs"] for values in costly_values(long)} == set(range(1, 41))


def test_trials_test_earlier_tasks_in_part_and_the_refit_does_not() -> None:
    search = {"space": {LR: {"uniform": [0.1, 1]}}, "old_task_fraction": 0.25}
    config = resolve({"data": {"path": "x"}, "search": search}).config
    assert trial_config(config, "trials").evaluation.old_task_fraction == 0.25
    assert refit_config(config, "search", {LR: 0.5}).evaluation.old_task_fraction is None


def test_the_table_of_trials_tells_estimates_from_what_all_pictures_say() -> None:
    """The first test has no earlier task, and the last is whole."""
    events = [{"event": "opened", "time": 0.0, "devices": 1.0}]
    for number in range(NUM_TASKS):
        events.append({"event": "proposed", "time": 0.0, "configuration": number, "values": {LR: 0.1}})
        events.append({"event": "started", "time": 0.0, "trial": f"trial-{number:05d}"})
        report = {"event": "reported", "time": 0.0, "trial": f"trial-{number:05d}", "objective": 0.5, "stops": False}
        events += [report] * (number + 1)
    rows = SearchState(search_of(old_task_fraction=0.25), NUM_TASKS, events).rows()
    assert [row["is_estimate"] for row in rows] == [False, True, True, True, False]
    assert not any("is_estimate" in row for row in SearchState(search_of(), NUM_TASKS, events).rows())
