"""Classes into tasks: pure functions of the class names and the `benchmark` section."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from hlgp_dist.config.schema import Benchmark
from hlgp_dist.errors import ConfigError
from hlgp_dist.types import TaskSpec


def class_order(classes: Sequence[str], benchmark: Benchmark) -> tuple[str, ...]:
    """The classes in stream order: as listed, permuted by the seed, or sorted where the seed is null.

    numpy: `numpy.random.RandomState(seed).permutation` over the sorted names, as in the field's public code: 1993 gives
    the published order. python: `random.seed(seed); random.shuffle`, but 0 for the sorted names (CODA-Prompt).

    Raises:
        ConfigError: `class_order` is no permutation of the classes.
    """
    names = sorted(classes)
    if benchmark.class_order is not None:
        _check_permutation(benchmark.class_order, names)
        return benchmark.class_order
    seed = benchmark.class_order_seed
    if seed is None:
        return tuple(names)
    if benchmark.class_order_shuffle == "python":
        if seed > 0:
            random.Random(seed).shuffle(names)
        return tuple(names)
    return tuple(names[index] for index in np.random.RandomState(seed).permutation(len(names)))


def split_tasks(classes: Sequence[str], benchmark: Benchmark) -> tuple[TaskSpec, ...]:
    """The tasks of the stream: `init_cls` classes, then `increment` each; the last one may be smaller.

    Args:
        classes: every class of the data, in any order.
        benchmark: order and sizes; `max_tasks` drops the tasks after that many.

    Raises:
        ConfigError: see `class_order`; or `init_cls` exceeds the number of classes.
    """
    order = class_order(classes, benchmark)
    if benchmark.init_cls > len(order):
        raise ConfigError(f"benchmark.init_cls={benchmark.init_cls}: the data holds only {len(order)} classes")
    starts = (0, *range(benchmark.init_cls, len(order), benchmark.increment))
    stops = (*starts[1:], len(order))
    bounds = list(zip(starts, stops, strict=True))[: benchmark.max_tasks]
    return tuple(TaskSpec(index, start, order[start:stop]) for index, (start, stop) in enumerate(bounds))


def joined(tasks: Sequence[TaskSpec]) -> TaskSpec:
    """One task of all classes, with the same labels."""
    return TaskSpec(0, 0, tuple(name for task in tasks for name in task.classes))


def _check_permutation(listed: Sequence[str], names: Sequence[str]) -> None:
    unknown, missing = sorted(set(listed) - set(names)), sorted(set(names) - set(listed))
    problems = [f"{what} {', '.join(some)}" for what, some in (("unknown:", unknown), ("missing:", missing)) if some]
    if problems:
        raise ConfigError(f"benchmark.class_order: must list every class of the data once; {'; '.join(problems)}")
