"""The runs that a search makes of its configuration: what every trial varies, and the winner's refit."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from typing import Any

from hlgp_dist.config import schema
from hlgp_dist.config.load import apply
from hlgp_dist.config.search_options import Search
from hlgp_dist.config.space import samples

COSTLY = ("alignment.", "backbone.", "data.", "engine.", "method.", "optimizer.kind", "train.")
"""Searched keys on which it depends how long a trial takes or what it needs."""
MOST = 16
"""Combinations of their values up to which all are looked at."""


def trial_config(config: schema.RunConfig, place: str) -> schema.RunConfig:
    """The run that every trial varies: it holds a validation part out and runs inside the search's Ray.

    place: the folder of all trials' folders.
    """
    assert config.search is not None
    return apply(
        config,
        {
            "search": None,
            "benchmark.validation_fraction": config.search.validation_fraction,
            "evaluation.old_task_fraction": config.search.old_task_fraction,
            **_first_tasks(config),
            "run.dir": place,
            "run.resume": "auto",
            "launch.kind": "ray",
            "launch.driver_resource": None,
            "telemetry.varied": _columns(config, config.search.space),
        },
    )


def _columns(config: schema.RunConfig, searched: Iterable[str]) -> list[str]:
    """Of TensorBoard's table: what is searched, then what a study varies."""
    return list(dict.fromkeys([*searched, *config.telemetry.varied]))


def _first_tasks(config: schema.RunConfig) -> dict[str, Any]:
    """Cut short, a protocol is no longer what it is called."""
    assert config.search is not None
    limits = [limit for limit in (config.search.max_tasks, config.benchmark.max_tasks) if limit is not None]
    return {"benchmark.protocol": None, "benchmark.max_tasks": min(limits)} if config.search.max_tasks else {}


def refit_config(config: schema.RunConfig, place: str, values: Mapping[str, Any]) -> schema.RunConfig:
    """The run that the best values make: on training and validation pictures, in the search's folder `best`."""
    where = {"search": None, "run.dir": place, "run.name": "best", "run.resume": "auto"}
    launch = {"launch.kind": "ray", "launch.driver_resource": None}
    return apply(config, {**values, **where, **launch, "telemetry.varied": _columns(config, values)})


def costly_values(search: Search) -> list[dict[str, Any]]:
    """Combinations of what makes a trial costly, an empty one where nothing does: all of them up to MOST.

    Of more, as many as MOST (or as the key of most values has) in a fixed random pairing, in which every value of every
    key occurs, as often as the key's others or once more.
    """
    choices = {key: samples(domain) for key, domain in search.space.items() if key.startswith(COSTLY)}
    every: Iterable[tuple[Any, ...]] = itertools.product(*choices.values())
    if math.prod(map(len, choices.values())) > MOST:
        number, draw = max(MOST, *map(len, choices.values())), random.Random(0)
        repeated = [list(itertools.islice(itertools.cycle(values), number)) for values in choices.values()]
        every = zip(*(draw.sample(values, number) for values in repeated), strict=True)
    return [dict(zip(choices, values, strict=True)) for values in every]
