"""The run folder: where each file is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hlgp_dist.config.places import joined
from hlgp_dist.files import write_text

NOT_SHARED = "it must be on storage that all nodes share"

TRIALS, BEST = "trials", "best"
"""In SEARCH/: whose folders are run folders, and the winner's run."""


class Keeper:
    """Keeps a folder in step with what others see of it; this one of a folder that everybody sees, which needs nothing.

    delay: seconds until others read what was written.
    """

    delay = 0.0

    @property
    def is_current(self) -> bool:
        """Whether what others wrote is being read, as far as is known."""
        return True

    def publish(self) -> None:
        """Others read from now on what was written until now.

        Raises:
            EnvironmentFailure: they do not, and did not for minutes.
            Interrupted: another process has taken this one's place.
        """

    def try_publish(self) -> None:
        """Likewise, but if that is not possible now, later."""

    def refresh(self) -> None:
        """What others have published is read from now on; raises as `publish`."""

    def obtain(self, path: Path) -> None:
        """Everything in a folder of the results is here from now on; raises as `publish`."""


class RunFolder:
    """RUN/: config.yaml env.json result.json metrics.jsonl accuracy_matrix.csv logs/ tensorboard/ checkpoints/.

    place: what the user calls it, a path or a URL; path: where this process reads and writes, which may be a copy.
    """

    def __init__(self, path: Path | str, *, place: str | None = None, keeper: Keeper | None = None) -> None:
        self.path = Path(path)
        self.place = str(path) if place is None else place
        self.keeper = Keeper() if keeper is None else keeper
        self.config = self.path / "config.yaml"
        self.environment = self.path / "env.json"
        self.result = self.path / "result.json"
        self.matrix = self.path / "accuracy_matrix.csv"
        self.logs = self.path / "logs"
        self.attempts = self.logs / "attempts.jsonl"
        self.batch_sizes = self.logs / "batch_sizes.json"
        self.checkpoints = self.path / "checkpoints"

    def __str__(self) -> str:
        return self.place

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rstrip("/").rpartition("/")[2]

    def below(self, *names: str) -> RunFolder:
        """Another one inside of this one."""
        return RunFolder(self.path.joinpath(*names), place=joined(self.place, *names), keeper=self.keeper)

    def read_result(self) -> dict[str, Any] | None:
        """What result.json says, None where there is none yet or a damaged one: the run then writes it again."""
        try:
            result = json.loads(self.result.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return result if isinstance(result, dict) and "exit_code" in result else None

    def read_finished(self) -> dict[str, Any] | None:
        """The whole result of a run or a search, if all went well."""
        result = self.read_result()
        if result is None or result["exit_code"] != 0:
            return None
        return result if "accuracy_matrix" in result or {"trials", "test"} <= result.keys() else None

    def read_attempts(self) -> list[dict[str, Any]]:
        """How each attempt at the run ended so far, also those of earlier commands."""
        if not self.attempts.is_file():
            return []
        return [json.loads(line) for line in self.attempts.read_text().splitlines()]

    def read_batch_sizes(self) -> dict[str, Any] | None:
        """What ranks last found `engine.micro_batch_size: auto` to be, None where none did."""
        return json.loads(self.batch_sizes.read_text()) if self.batch_sizes.is_file() else None

    def has_work(self) -> bool:
        """Whether a run or a search has left anything here that a later one would go on with."""
        return self.read_finished() is not None or self.checkpoints.exists() or (self.path / TRIALS).exists()

    def write_matrix(self, matrix: Sequence[Sequence[float]], sampled: Sequence[bool]) -> None:
        """One row a finished task, un-rounded, empty above the diagonal.

        sampled: of each row, whether earlier tasks are measured by a part of their pictures; a column of its own says
        so where any is.
        """
        text, columns = io.StringIO(), max(map(len, matrix), default=0)
        rows = csv.writer(text, lineterminator="\n")
        marked = any(sampled)
        rows.writerow(["after_task", *(f"task_{i:02d}" for i in range(columns)), *["sampled"] * marked])
        for t, row in enumerate(matrix):
            rows.writerow([t, *map(repr, row), *[""] * (columns - len(row)), *[int(sampled[t])] * marked])
        write_text(self.matrix, text.getvalue())
