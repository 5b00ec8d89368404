"""Where relative paths lie: below $HLGP_STORAGE, which all hosts share, wherever in a configuration they stand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.merge import Given, Layers
from hlgp_dist.config.places import joined, scheme_of
from hlgp_dist.config.problems import Problem
from hlgp_dist.config.schema import RunOptions

_PLACE = re.compile(r"(?:^|\.)(run\.dir|data\.path|backbone\.weights)(?:\.(?:choice|grid))?$")
"""In the base, in a cell of a study, in a search's space."""


@dataclass(frozen=True)
class Shared:
    """storage: a folder or bucket, empty where there is none; project: on every host at the same path, with weights."""

    storage: str
    project: Path

    @staticmethod
    def of_environment() -> Shared | None:
        """None: a relative path means what it does to this process."""
        storage = os.environ.get("HLGP_STORAGE")
        return None if storage is None else Shared(storage, Path(os.environ.get("HLGP_HOME", "")).absolute())

    def place(self, layers: Layers) -> Iterator[Problem]:
        """Put every relative path below the storage, but for the project's weights; one with ~ is refused later."""
        if isinstance(layers.plain().get("run", {}), dict):  # else the schema has something to say
            layers.values.setdefault(("run", "dir"), Given(RunOptions().dir, "default"))
        for path, given in layers.values.items():
            key = ".".join(path)
            found = _PLACE.search(key)
            if found is None:
                continue
            try:
                layers.values[path] = Given(self._placed(found[1], given.value), given.origin)
            except ValueError as error:
                yield Problem(key, str(error), given.value, given.origin)

    def _placed(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._placed(key, each) for each in value]
        if (
            not isinstance(value, str)
            or not value.strip()
            or value.startswith(("/", "~"))
            or scheme_of(value) is not None
        ):
            return value
        if key == "backbone.weights":
            if value in ("hub", "none"):
                return value
            if (self.project / value).is_file():
                return str(self.project / value)
        if not self.storage:
            raise ValueError("must be absolute: HLGP_STORAGE, the folder that all hosts share, is empty")
        return joined(str(Path(self.storage).expanduser()) if scheme_of(self.storage) is None else self.storage, value)
