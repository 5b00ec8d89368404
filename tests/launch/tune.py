"""`hlgp tune` as a process, on the cluster of `nodes`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.jobs import job, written
from tests.launch.nodes import ADDRESS

LAUNCH = ("launch.kind=ray", f"launch.address={ADDRESS}")
LONGEST_SECONDS = 1800
"""Of a whole search."""


class Tune:
    """A search of the drawn pictures; started again with the same words after it was killed."""

    def __init__(self, shards: Path, folder: Path, search: Mapping[str, Any], *options: str) -> None:
        self.folder = folder
        config = written(job(shards, folder, *LAUNCH, *options), folder.with_suffix(".yaml"))
        config.write_text(json.dumps(json.loads(config.read_text()) | {"search": search}))
        self.words = (sys.executable, "-c", "from hlgp_dist.cli import main; main()", "tune", str(config))
        self._log, self._began = folder.with_suffix(".log"), time.monotonic()
        self._command = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("a") as log:
            return subprocess.Popen(self.words, stdout=log, stderr=log)

    @property
    def number(self) -> int:
        return self._command.pid

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def exit_code(self) -> int | None:
        return self._command.poll()

    def is_over(self) -> bool:
        """Raises AssertionError where it did not end well, or not in time."""
        code = self._command.poll()
        assert code in (None, 0), f"exit code {code}: {self._log.read_text()}"
        assert self.seconds < LONGEST_SECONDS, f"it does not end: {self._log.read_text()}"
        return code == 0

    def start_again(self) -> None:
        """After its death."""
        self._command.wait()
        self._command = self._start()
