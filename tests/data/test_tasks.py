from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlgp_dist.config.schema import Benchmark
from hlgp_dist.data.tasks import class_order, split_tasks
from hlgp_dist.errors import ConfigError

NAMES = tuple(f"class{index:02d}" for index in range(10))


def test_the_published_order() -> None:
    # numpy.random.RandomState(1993).permutation(10), as in the field's public code
    published = [4, 2, 7, 6, 0, 3, 5, 8, 9, 1]
    assert class_order(NAMES, Benchmark()) == tuple(NAMES[index] for index in published)


def test_the_order_of_pythons_shuffle() -> None:
    python = [Benchmark(class_order_shuffle="python", class_order_seed=seed) for seed in (0, 1)]
    assert class_order(NAMES[::-1], python[0]) == NAMES
    names = list(NAMES)
    random.seed(1)
    random.shuffle(names)
    assert class_order(NAMES, python[1]) == tuple(names)


def test_no_seed_sorts_and_a_list_rules() -> None:
    assert class_order(NAMES[::-1], Benchmark(class_order_seed=None)) == NAMES
    assert class_order(NAMES, Benchmark(class_order=NAMES[::-1])) == NAMES[::-1]


def test_errors_name_key_and_classes() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.class_order: .*unknown: elk; missing: class09"):
        class_order(NAMES, Benchmark(class_order=("elk", *NAMES[:-1])))
    with pytest.raises(ConfigError, match=r"benchmark\.init_cls=11: .*10 classes"):
        split_tasks(NAMES, Benchmark(init_cls=11))


def test_uneven_tasks() -> None:
    tasks = split_tasks(NAMES, Benchmark(init_cls=4, increment=5))
    assert [(task.index, task.start, task.stop) for task in tasks] == [(0, 0, 4), (1, 4, 9), (2, 9, 10)]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 50), st.none() | st.integers(0, 9))
def test_tasks_partition_the_order(count: int, init: int, increment: int, limit: int, seed: int | None) -> None:
    names = [f"{index:03d}" for index in range(count)]
    init = min(init, count)
    benchmark = Benchmark(init_cls=init, increment=increment, class_order_seed=seed)
    tasks = split_tasks(names, benchmark)
    order = class_order(names, benchmark)
    assert sorted(order) == names
    assert sum((task.classes for task in tasks), ()) == order
    assert [task.index for task in tasks] == list(range(len(tasks)))
    assert all(order[task.start : task.stop] == task.classes for task in tasks)
    assert len(tasks[0].classes) == init
    assert all(len(task.classes) == increment for task in tasks[1:-1])
    assert split_tasks(order, benchmark) == tasks
    assert split_tasks(names, benchmark.model_copy(update={"max_tasks": limit})) == tasks[:limit]
