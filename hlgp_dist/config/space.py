"""The search space: every key an option of the configured method, every sample a value it takes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.merge import split_key
from hlgp_dist.config.options import field_at, role_of
from hlgp_dist.config.problems import Problem
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.search_options import Choice, Domain, Grid, LogUniform, Uniform

Samples = Mapping[str, Any]
MAX_COMBINATIONS = 256
JUDGED_BY = (
    *(
        "data.kind",
        "data.path",
        "data.train_fraction",
        "data.classes",
        "data.train_per_class",
        "data.test_per_class",
        "data.size",
        "data.seed",
    ),
    "evaluation.old_task_fraction",
)
"""Which pictures a trial meets, beside all of `benchmark`."""


def samples(domain: Domain) -> tuple[Any, ...]:
    """The values that stand for a domain in checks: each choice, or both bounds."""
    match domain:
        case Choice():
            return domain.choice
        case Grid():
            return domain.grid
        case Uniform():
            return domain.uniform
        case LogUniform():
            return domain.loguniform


def space_problems(
    config: RunConfig, origin_of: Callable[[str], str], try_values: Callable[[Samples], list[Problem]]
) -> list[Problem]:
    """What is wrong with `search.space`; `try_values(samples)` says what is wrong with one trial.

    First each key by itself under every combination of searched kinds, then combinations of all keys (a fixed
    random part of them where there are more than MAX_COMBINATIONS): none may be refused, or a trial would be.
    """
    if config.search is None:
        return []
    space = config.search.space
    found = [problem for key, domain in space.items() for problem in _key_problems(config, key, domain)]
    found = found or _unique(_sample_problems(space, try_values)) or list(_combination_problems(space, try_values))
    if config.search.num_samples > 1 and all(isinstance(domain, Grid) for domain in space.values()):
        rule = "must be 1 where all of search.space is grid: each further sample would repeat every trial"
        found.append(Problem("search.num_samples", rule, config.search.num_samples))
    return [replace(problem, origin=origin_of(problem.key)) for problem in found]


def _key_problems(config: RunConfig, key: str, domain: Domain) -> Iterator[Problem]:
    name = f"search.space.{key}"
    bounds = samples(domain)
    if isinstance(domain, Uniform | LogUniform) and bounds[0] >= bounds[1]:
        yield Problem(name, f"the lower bound {bounds[0]} must be below the upper bound {bounds[1]}")
    if key.partition(".")[0] == "search":
        yield Problem(name, "cannot be searched")
    elif key.partition(".")[0] == "benchmark" or key in JUDGED_BY:
        yield Problem(
            name, "cannot be searched: trials that are compared must be judged by the same tasks and pictures"
        )
    elif _is_operational(config, key):
        yield Problem(name, "cannot be searched: it is operational and changes no result")


def _is_operational(config: RunConfig, key: str) -> bool:
    data = config.model_dump(mode="json")
    path = split_key(key, data)
    fields = [field_at(path[:end], data) for end in range(1, len(path) + 1)]
    return any(field is not None and role_of(field, "identity") == "operational" for field in fields)


def _sample_problems(space: Mapping[str, Domain], try_values: Callable[[Samples], list[Problem]]) -> Iterator[Problem]:
    """Each sample of each key alone; searched kinds decide which keys there are."""
    kind_keys = [key for key in space if key.endswith(".kind")]
    for chosen in combinations({key: space[key] for key in kind_keys}):
        yield from (problem for key in kind_keys for problem in _own_problems(key, chosen, try_values))
        context = f" (with {assignment(chosen)})" if chosen else ""
        for key in [key for key in space if key not in kind_keys]:
            for value in samples(space[key]):
                for problem in _own_problems(key, {**chosen, key: value}, try_values):
                    yield replace(problem, rule=f"{problem.rule}{context}")


def _own_problems(key: str, trial: Samples, try_values: Callable[[Samples], list[Problem]]) -> Iterator[Problem]:
    """The problems of a trial that are about this key alone."""
    for problem in try_values(trial):
        is_own = (
            problem.key == key or problem.key.startswith((f"{key}.", f"{key}[")) or key.startswith(f"{problem.key}.")
        )
        if is_own and not problem.is_joint:
            yield Problem(f"search.space.{key}", problem.rule, trial[key])


def _combination_problems(
    space: Mapping[str, Domain], try_values: Callable[[Samples], list[Problem]]
) -> Iterator[Problem]:
    for trial in combinations(space):
        for problem in try_values(trial):
            yield Problem("search.space", f"{assignment(trial)} is no valid trial: {problem}")
            return


def combinations(space: Mapping[str, Domain]) -> Iterator[dict[str, Any]]:
    """The trials that stand for a space in checks; where they are too many, a fixed random part of them."""
    choices = {key: samples(domain) for key, domain in space.items()}
    total = math.prod(len(values) for values in choices.values())
    if total <= MAX_COMBINATIONS:
        yield from (dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))
        return
    for number in random.Random(0).sample(range(total), MAX_COMBINATIONS):
        trial = {}
        for key, values in choices.items():
            number, index = divmod(number, len(values))
            trial[key] = values[index]
        yield trial


def assignment(trial: Samples) -> str:
    """As it would be typed."""
    return ", ".join(f"{key}={flow(value)}" for key, value in trial.items())


def _unique(problems: Iterator[Problem]) -> list[Problem]:
    """One problem a key and value, whatever the combination."""
    found: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        found.setdefault((problem.key, flow(problem.value)), problem)
    return list(found.values())
