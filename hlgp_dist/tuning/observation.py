"""What a search algorithm is told of the configurations before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Values = dict[str, Any]


@dataclass(frozen=True)
class Observation:
    """A configuration so far: objectives[i] is the mean over its replicates after i + 1 tasks."""

    values: Mapping[str, Any]
    state: Literal["running", "done", "stopped", "failed"]
    objectives: Sequence[float]
