"""Which combinations of searched values stand for a search's trials."""

from __future__ import annotations

from collections import Counter

from hlgp_dist.tuning.runs import MOST, costly_values
from tests.tuning.simulated import LR, search_of

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
