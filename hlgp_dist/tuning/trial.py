"""One trial of a search: one configuration with one seed, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hlgp_dist.config.search_options import Search

Status = Literal["waiting", "running", "done", "stopped", "failed", "cut"]
"""waiting: to be started, or gone on with; stopped: by the scheduler, for good; cut: the budget ended it."""
OVER = ("done", "stopped", "failed")


@dataclass
class Trial:
    """reports[i]: the objective after i + 1 tasks; is_begun: it was started once; seconds: that it ran, in all."""

    name: str
    configuration: int
    seed: int | None
    """None: the search's own."""
    values: dict[str, Any]
    status: Status = "waiting"
    reason: str = ""
    exit_code: int = 0
    is_begun: bool = False
    reports: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def row(self, sampled: range) -> dict[str, Any]:
        """What the table says of it; sampled: numbers of finished tasks whose objective is an estimate."""
        return {
            "trial": self.name,
            **({} if self.seed is None else {"configuration": self.configuration, "seed": self.seed}),
            **self.values,
            "status": self.status,
            "tasks_finished": len(self.reports),
            "objective": self.reports[-1] if self.reports else None,
            **({"is_estimate": len(self.reports) in sampled} if sampled else {}),
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
        }


def num_replicates(search: Search) -> int:
    """Trials of one configuration."""
    return 1 if search.seeds is None else len(search.seeds)


def replicates(search: Search, configuration: int, values: dict[str, Any]) -> list[Trial]:
    """The trials of one configuration, one a seed."""
    name = f"trial-{configuration:05d}"
    if search.seeds is None:
        return [Trial(name, configuration, None, values)]
    return [Trial(f"{name}-seed-{seed}", configuration, seed, values) for seed in search.seeds]
