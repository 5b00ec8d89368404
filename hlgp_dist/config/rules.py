"""Rules over several sections. They check and never change a value; a value that equals its default never counts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.hlgp_options import Hlgp
from hlgp_dist.config.options import all_options, leaf_values
from hlgp_dist.config.places import home_problem, is_remote, place_problem, results_problem, shown
from hlgp_dist.config.problems import Problem
from hlgp_dist.config.schema import RunConfig, ShardData

Origin = Callable[[str], str]

RAY_KEYS = (
    "launch.address",
    "launch.cpus_per_worker",
    "launch.gpus_per_worker",
    "launch.elastic",
    "launch.wait_seconds",
)
BY_SEARCH = {
    "benchmark.validation_fraction": "search.validation_fraction",
    "evaluation.old_task_fraction": "search.old_task_fraction",
}
"""What of its trials a search decides, by an option of its own."""
SLOW_WORDS_SECONDS = 120
GRADIENT_KEYS = (
    "optimizer.",
    "train.epochs",
    "train.global_batch_size",
    "train.max_steps_per_task",
    "data.augmentation",
    "alignment.",
    "engine.zero_stage",
    "engine.micro_batch_size",
    "engine.checkpoint_blocks",
    "checkpoint.every_steps",
)


def check(config: RunConfig, origin_of: Origin) -> list[Problem]:
    """Every broken rule."""
    parts = (_without_effect, _sampling, _published, _groups, _kernels, _places, _columns)
    broken = [problem for part in parts for problem in part(config)]
    return [replace(problem, origin=origin_of(problem.key), is_joint=True) for problem in broken]


def ignored(config: RunConfig, key: str) -> str | None:
    """Why a value of the dotted key changes nothing here; None where it has a say."""
    method, has_searches = config.method, config.search is not None or config.study is not None
    if not method.takes_gradients and key.startswith(GRADIENT_KEYS):
        return f"method.kind: {method.kind} takes no gradient step"
    if not method.trains_prompts and key == "optimizer.prompt_lr":
        return f"method.kind: {method.kind} has no prompts"
    if not method.trains_prompts and not method.trains_trunk and key == "engine.checkpoint_blocks":
        return f"method.kind: {method.kind} has no backward pass through the blocks"
    if config.train.stream == "joint" and key.startswith("alignment."):
        return "train.stream: joint has one task, behind which nothing is aligned"
    if config.launch.kind == "local" and not has_searches and key in RAY_KEYS:
        return "launch.kind: local starts no Ray"
    if not has_searches and key == "launch.driver_resource":
        return "only the trials of a search have a driver"
    if config.train.stream == "joint" and key.endswith(".old_task_fraction"):
        return "train.stream: joint is tested once, at its end"
    if config.search is not None and key in BY_SEARCH:
        return f"in a search {BY_SEARCH[key]} decides"
    return None


def _without_effect(config: RunConfig) -> Iterator[Problem]:
    for key, value in _changed(config):
        because = ignored(config, key)
        if because is not None:
            default = flow(_defaults()[key])
            yield Problem(key, f"has no effect: {because}; take it out, or give its default {default}", value)


def _sampling(config: RunConfig) -> Iterator[Problem]:
    """Of a search's own option, which no default stands beside."""
    key = "search.old_task_fraction"
    if config.search is not None and config.search.old_task_fraction is not None:
        because = ignored(config, key)
        if because is not None:
            yield Problem(key, f"has no effect: {because}; take it out", config.search.old_task_fraction)


def _published(config: RunConfig) -> Iterator[Problem]:
    """Of what a shard folder's manifest would be compared with."""
    for key, value in (("protocol", config.benchmark.protocol), ("split", config.benchmark.split)):
        if value is not None and not isinstance(config.data, ShardData):
            yield Problem(
                f"benchmark.{key}", f"must be null: data.kind: {config.data.kind} is no public benchmark", value
            )


def _groups(config: RunConfig) -> Iterator[Problem]:
    """Depth is known to the backbone alone, but an explicit list of blocks says how many there are to group."""
    method = config.method
    if not isinstance(method, Hlgp) or method.layers is None:
        return
    blocks = len(method.layers)
    if method.num_groups > blocks:
        yield Problem("method.num_groups", f"must be at most the {blocks} blocks of method.layers", method.num_groups)
    if method.group_layout is not None and sum(method.group_layout) != blocks:
        rule = f"must add up to the {blocks} blocks of method.layers"
        yield Problem("method.group_layout", rule, list(method.group_layout))


def _kernels(config: RunConfig) -> Iterator[Problem]:
    """What neither rounded weights nor compiled blocks go together with."""
    engine = config.engine
    if engine.precision == "int8" and config.method.trains_trunk:
        rule = f"must be bf16 or fp32 with method.kind: {config.method.kind}, which trains the trunk's weights"
        yield Problem("engine.precision", rule, engine.precision)
    if engine.zero_stage == 3 and (engine.compile or engine.precision == "int8"):
        key = "engine.compile: true" if engine.compile else "engine.precision: int8"
        yield Problem("engine.zero_stage", f"must be at most 2 with {key}, which wants whole blocks", 3)


def _places(config: RunConfig) -> Iterator[Problem]:
    if (problem := results_problem(config.run.dir)) is not None:
        yield Problem("run.dir", problem, shown(config.run.dir))
    hang = config.launch.hang_seconds
    if is_remote(config.run.dir) and hang is not None and hang < SLOW_WORDS_SECONDS:
        rule = f"must be at least {SLOW_WORDS_SECONDS} where run.dir is a URL, by which ranks are heard late"
        yield Problem("launch.hang_seconds", rule, hang)
    data = config.data
    if isinstance(data, ShardData) and (problem := place_problem(data.path)) is not None:
        yield Problem("data.path", problem, shown(data.path))
    for key, path in (("data.cache_dir", config.data.cache_dir), ("backbone.weights", config.backbone.weights)):
        if path is not None and (problem := home_problem(path)) is not None:
            yield Problem(key, problem, path)


def _columns(config: RunConfig) -> Iterator[Problem]:
    known = _known() | {key for key, _, _ in leaf_values(config)}  # a plug-in's options too
    columns = [("telemetry.hparams", key) for key in config.telemetry.hparams]
    for name, key in columns + [("telemetry.varied", key) for key in config.telemetry.varied]:
        if key not in known and not key.startswith("backbone.kwargs."):
            near = difflib.get_close_matches(key, known, n=1)
            yield Problem(name, f"{key} is no option{f'; did you mean {near[0]}?' if near else ''}")


def _changed(config: RunConfig) -> Iterator[tuple[str, Any]]:
    """The leaves that differ from the schema's defaults; of another kind's own fields, its `kind` alone."""
    defaults = _defaults()
    for key, value, _ in leaf_values(config):
        if key in defaults and value != defaults[key]:
            yield key, value


@cache
def _known() -> frozenset[str]:
    """The dotted key of every option of every kind."""
    return frozenset(re.sub("<.*?>", "", option.key) for option in all_options())


@cache
def _defaults() -> dict[str, Any]:
    return {key: value for key, value, _ in leaf_values(RunConfig(data=ShardData(path="")))}
