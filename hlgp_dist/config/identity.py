"""Which values make a result what it is, their hash, and what a resume may not change."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.options import leaf_values
from hlgp_dist.config.places import joined
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError

ABSENT = "(absent)"
HASH_CHARACTERS = 8

Changes = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Difference:
    """Changed values by dotted key as (old, new); ABSENT where a configuration has no such key."""

    identity: Changes
    operational: Changes


def identity(config: RunConfig, *, include_search: bool = False) -> dict[str, Any]:
    """The identity values by dotted key; with `include_search` those of a search, else those of one run."""
    return _values(config, "identity", include_search)


def identity_hash(config: RunConfig, *, include_search: bool = False) -> str:
    """Sha256 in hex of the identity values as canonical JSON."""
    values = identity(config, include_search=include_search)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(config: RunConfig, stem: str, *, include_search: bool = False) -> str:
    """The folder's name: `run.name`, or the configuration's stem (as a folder may be called) and its identity hash;
    never a timestamp.
    """
    if config.run.name is not None:
        return config.run.name
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-") or "run"
    return f"{stem}-{identity_hash(config, include_search=include_search)[:HASH_CHARACTERS]}"


def place_of(config: RunConfig, stem: str) -> str:
    """Where a run, a search or a study keeps its results: a path or a URL."""
    is_search = config.search is not None and config.study is None
    return joined(config.run.dir, run_name(config, stem, include_search=is_search))


def difference(old: RunConfig, new: RunConfig, *, include_search: bool = False) -> Difference:
    """What changed from one configuration to another, by role."""
    return Difference(
        identity=_changes(_values(old, "identity", include_search), _values(new, "identity", include_search)),
        operational=_changes(_values(old, "operational", True), _values(new, "operational", True)),
    )


def refuse_changed_identity(old: RunConfig, new: RunConfig, *, include_search: bool = False) -> Difference:
    """ConfigError with each changed identity value as `key: old -> new`; else the difference, operational only."""
    changed = difference(old, new, include_search=include_search)
    if changed.identity:
        lines = [f"{key}: {_shown(before)} -> {_shown(after)}" for key, (before, after) in changed.identity.items()]
        reason = "the folder holds a run of another configuration; take another run.name (in a study: choice), or undo"
        raise ConfigError("\n  ".join([f"{reason}:", *lines]))
    return changed


def _values(config: RunConfig, role: str, include_search: bool) -> dict[str, Any]:
    values = {key: value for key, value, own in leaf_values(config) if own == role}
    return {key: value for key, value in values.items() if include_search or key.partition(".")[0] != "search"}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    keys = dict.fromkeys([*old, *new])
    pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys}
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}


def _shown(value: Any) -> str:
    return ABSENT if value == ABSENT else flow(value)
