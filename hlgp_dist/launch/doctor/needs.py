"""What is to be examined: all that a configuration needs, or what a machine without one is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.load import Resolved, cells, resolve
from hlgp_dist.config.places import absolute
from hlgp_dist.config.schema import RunConfig, ShardData
from hlgp_dist.config.shared import Shared

NOWHERE = {"data": {"path": "."}}
"""Stands where no configuration says which data."""


@dataclass(frozen=True)
class Needs:
    """Paths are absolute; run_dir and data may be URLs. data, weights: None where none was named, or no file is.

    compiles: some run of it does, see `engine.compile`.
    """

    launch: LaunchOptions
    on_ray: bool
    compiles: bool
    run_dir: str
    cache_dir: str | None
    data: str | None
    weights: str | None

    @property
    def address(self) -> str | None:
        """Of the cluster that is to be joined."""
        return (self.launch.address or os.environ.get("RAY_ADDRESS")) if self.on_ray else None


def needs_of(arguments: Sequence[str]) -> Needs:
    """Of `[CONFIG] [KEY=VALUE ...]`; without CONFIG the defaults hold, and no data is asked for.

    Raises:
        ConfigError: as of any verb.
    """
    has_config = bool(arguments) and ("=" not in arguments[0] or Path(arguments[0]).is_file())
    source, overrides = (arguments[0], arguments[1:]) if has_config else (NOWHERE, arguments)
    return _needs(resolve(source, overrides, Shared.of_environment()))


def _needs(resolved: Resolved) -> Needs:
    config = resolved.config
    data, weights = config.data, config.backbone.weights
    path = data.path if isinstance(data, ShardData) and resolved.origins["data.path"] != "given" else None
    each = (config, *(cells(config).values() if config.study is not None else ()))
    return Needs(
        launch=config.launch,
        on_ray=any(map(_uses_ray, each)),
        compiles=any(one.engine.compile for one in each),
        run_dir=absolute(config.run.dir),
        cache_dir=config.data.cache_dir,
        data=None if path is None else absolute(path),
        weights=None if weights in ("hub", "none") else absolute(weights),
    )


def _uses_ray(config: RunConfig) -> bool:
    """Searches do, whatever launch.kind is."""
    return config.launch.kind == "ray" or config.search is not None
