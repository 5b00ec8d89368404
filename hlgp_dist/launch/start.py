"""Start a run where the configuration says, and leave its outcome in result.json whatever happens."""

from __future__ import annotations

import logging
from typing import Any

from hlgp_dist.config.identity import place_of
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.files import sweep
from hlgp_dist.launch.local import run_local
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.prepare import check_content, check_contract, check_run, open_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import Storage, View, everything, without_tensors
from hlgp_dist.launch.worker import outcome_kept
from hlgp_dist.train.folder import NOT_SHARED, RunFolder

log = logging.getLogger(__name__)


def start_run(config: RunConfig, stem: str, stop: Stop | None = None) -> tuple[RunFolder, dict[str, Any]]:
    """Run to the end, or return at once what a finished run came to.

    Raises:
        Failure: of any kind, an end that `stop` asked for too; result.json then holds its exit code and reason,
            unless the checks refused the run.
    """
    stop = stop or Stop()
    with opened(place_of(config, stem), fetched_by_launcher(config), stop) as storage:
        folder = storage.run()
        return folder, _start(config, storage, folder, stop)


def fetched_by_launcher(config: RunConfig) -> View:
    """What the launcher reads of a run; of local ranks all that they go on with, since they work in its folder."""
    return View(everything if config.launch.kind == "local" else without_tensors, messages=("logs",))


def _start(config: RunConfig, storage: Storage, folder: RunFolder, stop: Stop) -> dict[str, Any]:
    check_run(config, folder)
    result = folder.read_finished()
    if result is not None:
        check_content(config, folder, result)
        log.warning("%s was finished before: nothing is run", folder)
        return result
    check_contract(config.method)
    with storage.alone():
        result = folder.read_finished()  # by another process, since we looked
        return result if result is not None else _launch(config, folder, stop)


def _launch(config: RunConfig, folder: RunFolder, stop: Stop) -> dict[str, Any]:
    open_run(config, folder)
    folder.result.unlink(missing_ok=True)
    with outcome_kept(folder):
        _run_ranks(config, folder, stop)
        folder.keeper.refresh()
        result = folder.read_finished()
        if result is None:  # the first rank writes it before it leaves
            raise EnvironmentFailure(f"run.dir: the ranks' result is not in {folder}; {NOT_SHARED}")
        sweep(folder.path)
        return result


def _run_ranks(config: RunConfig, folder: RunFolder, stop: Stop) -> None:
    if config.launch.kind == "local":
        run_local(config, folder, stop)
        return
    from hlgp_dist.launch.ray_run import run_on_ray  # a second of imports that a local run has no use for

    run_on_ray(config, folder, stop)
