"""Checkpoints: safetensors and JSON without the frozen weights, whole for any number of ranks, renamed into place.

A checkpoint is named by the position it continues at. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hlgp_dist.errors import DataError
from hlgp_dist.files import sync, write_json

log = logging.getLogger("hlgp_dist")
TENSORS, RECORD = "state.safetensors", "state.json"

DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a checkpoint that is not whole ends with."""

Place = tuple[int, int]
"""(task, step) that a checkpoint continues at; step 0 of a task is the former one's end."""
NOWHERE: Place = (-1, -1)
"""Before there is a checkpoint."""


@dataclass(frozen=True, order=True)
class Position:
    """Where a run stands: `step` steps of task `task` are done, `global_step` over all tasks."""

    task: int = 0
    step: int = 0
    global_step: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and the plain record beside them."""

    position: Position
    tensors: dict[str, Tensor]
    record: dict[str, Any]


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, *, keep: int, keep_too: Callable[[Place], bool] = lambda place: False
) -> Path:
    """Write aside, rename, then drop all but the newest `keep` and those that are to be kept, too."""
    position = checkpoint.position
    target = folder / folder_name((position.task, position.step))
    for left_over in folder.glob(".*.aside"):
        shutil.rmtree(left_over)
    aside = folder / f".{target.name}.aside"
    aside.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, aside / TENSORS)
    sync(aside / TENSORS)
    record = {"position": asdict(position), "sha256": _sha256(aside / TENSORS), **checkpoint.record}
    write_json(aside / RECORD, record)
    if target.exists():
        _drop(target)
    aside.rename(target)
    sync(folder)
    former = [path for path in _finished(folder) if _place(path) <= _place(target)]
    for path in _finished(folder):
        if path not in former[-keep:] and not (
            path in former and keep_too(_place(path))
        ):  # too old, or of a future that a damaged checkpoint has cut off
            _drop(path)
    return target


def _drop(path: Path) -> None:
    """Out of sight first: killed on the way, it leaves what the next save sweeps up, and no half of a checkpoint."""
    aside = path.with_name(f".{path.name}.dropped.aside")
    path.rename(aside)
    shutil.rmtree(aside)


def bytes_written(folder: Path) -> int:
    """Of a checkpoint that is being saved."""
    return sum(file.stat().st_size for file in folder.glob(".*.aside/*"))


def newest_place(folder: Path) -> Place:
    """(task, step) that the newest checkpoint continues at, whole or not; NOWHERE where there is none."""
    finished = _finished(folder)
    return _place(finished[-1]) if finished else NOWHERE


def load_checkpoint(folder: Path, obtain: Callable[[Path], None] = lambda path: None) -> Checkpoint | None:
    """The newest checkpoint that is whole, None where there has been none.

    obtain: is called with a checkpoint's folder before it is read.

    Raises:
        DataError: there are checkpoints, and all of them are damaged.
    """
    reasons = []
    for path in reversed(_finished(folder)):
        obtain(path)
        try:
            return read_checkpoint(path)
        except DAMAGE as error:
            reasons.append(f"{path}: {error}")
            log.warning("passing over a damaged checkpoint, %s", reasons[-1])
    if reasons:
        raise DataError(f"no checkpoint is whole ({'; '.join(reasons)}); delete {folder} to start anew")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """The one in a folder; raises one of DAMAGE."""
    record = json.loads((path / RECORD).read_text())
    tensors = read_tensors(path / TENSORS, record.pop("sha256"))
    position = Position(**record.pop("position"))
    return Checkpoint(position, tensors, record)


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Of a safetensors file of that hash; raises one of DAMAGE."""
    if sha256 != _sha256(path):
        raise ValueError(f"{path.name} is not what was written")
    # Copied: in the file tensors lie at odd addresses, and there a matrix product differs in its last bit.
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def folder_name(place: Place) -> str:
    """Of a checkpoint."""
    task, step = place
    return f"task-{task:02d}-step-{step:06d}"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finished(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted((path for path in folder.glob("task-*-step-*") if (path / RECORD).is_file()), key=_place)


def _place(path: Path) -> Place:
    """(task, step) of a checkpoint's name; as text, task 100 would come before task 99."""
    _, task, _, step = path.name.split("-")
    return int(task), int(step)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names under `prefix.`, values copied to the host."""
    return {f"{prefix}.{name}": tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values under `prefix.`."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state whose shapes may have grown: buffers and parameters take the saved shape."""
    for name, value in tensors.items():
        owner_name, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        current = getattr(owner, leaf)
        value = value.to(current.device)
        setattr(owner, leaf, nn.Parameter(value) if isinstance(current, nn.Parameter) else value)
