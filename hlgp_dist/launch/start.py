"""Start a run where the configuration says, and leave its outcome in result.json whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import AtWork, EnvironmentFailure
from hlgp_dist.files import locked
from hlgp_dist.launch.local import run_local
from hlgp_dist.launch.prepare import check_content, check_contract, check_run, open_run
from hlgp_dist.launch.ray_run import run_on_ray
from hlgp_dist.launch.worker import forget_failures, outcome_kept
from hlgp_dist.train.folder import NOT_SHARED, RunFolder

log = logging.getLogger(__name__)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process runs in the folder.

    Raises:
        AtWork: one does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", blocking=False))
        except BlockingIOError as error:
            raise AtWork(f"run: another process is at work in {folder}; wait for it or end it") from error
        yield


def start_run(config: RunConfig, stem: str) -> tuple[RunFolder, dict[str, Any]]:
    """Run to the end, or return at once what a finished run came to.

    Raises:
        Failure: of any kind; result.json then holds its exit code and reason, unless the checks refused the run.
    """
    folder = check_run(config, stem)
    result = folder.read_finished()
    if result is not None:
        check_content(config, folder, result)
        log.warning("%s was finished before: nothing is run", folder.path)
        return folder, result
    check_contract(config.method)
    folder.path.mkdir(parents=True, exist_ok=True)
    with alone(folder.path):
        result = folder.read_finished()  # by another process, since we looked
        return folder, result if result is not None else _launch(config, folder)


def _launch(config: RunConfig, folder: RunFolder) -> dict[str, Any]:
    launch = run_on_ray if config.launch.kind == "ray" else run_local
    open_run(config, folder)
    folder.result.unlink(missing_ok=True)
    forget_failures(folder)
    with outcome_kept(folder):
        launch(config, folder)
        result = folder.read_finished()
        if result is None:  # the first rank writes it before it leaves
            raise EnvironmentFailure(f"run.dir: the ranks' result is not in {folder.path}; {NOT_SHARED}")
        return result
