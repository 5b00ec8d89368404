"""Which of a run's checkpoints becomes a model."""

from __future__ import annotations

from pathlib import Path

from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.train.checkpoint import DAMAGE, Checkpoint, folder_name, load_checkpoint, read_checkpoint
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.progress import progress_of
from hlgp_dist.train.retention import best_task


def chosen(folder: RunFolder, which: str) -> Checkpoint:
    """The `last` of a run, that of the task's end with the `best` average accuracy, or the one at a path.

    Raises:
        ConfigError: it is not there, or lies inside of a task.
        DataError: it is damaged.
    """
    if which in ("last", "best"):
        checkpoint = load_checkpoint(folder.checkpoints, folder.keeper.obtain)
        if checkpoint is None:
            raise ConfigError(f"{folder}: has no checkpoint; it is to be a run folder, in which `hlgp train` has ended")
        if which == "best":
            checkpoint = _best(folder, checkpoint)
    else:
        checkpoint = _read(Path(which))
    position = checkpoint.position
    if position.task == 0 or position.step > 0:
        where = f"step {position.step} of task {position.task}"
        raise ConfigError(f"--checkpoint={which}: is of {where}; only one of a task's end can be exported")
    return checkpoint


def _best(folder: RunFolder, newest: Checkpoint) -> Checkpoint:
    task = best_task(progress_of(newest).matrix())
    assert task is not None, "the newest of a finished run has measured"
    path = folder.checkpoints / folder_name((task + 1, 0))
    if task + 1 == newest.position.task:
        return newest
    folder.keeper.obtain(path)
    if not path.is_dir():
        raise ConfigError(
            f"--checkpoint=best: that of task {task} is not kept in {folder}; train with checkpoint.keep_best=true"
        )
    return _read(path)


def _read(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise ConfigError(f"--checkpoint={path}: no such folder; give last, best or a folder of checkpoints/")
    try:
        return read_checkpoint(path)
    except DAMAGE as error:
        raise DataError(f"--checkpoint={path}: is damaged ({error}); take another one") from error
