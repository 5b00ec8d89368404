"""From a finished run to a folder that predicts: tensors, their description and a card; no frozen weight, no pickle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from hlgp_dist.config.identity import identity_hash
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.errors import ConfigError
from hlgp_dist.export.card import card
from hlgp_dist.export.choose import chosen
from hlgp_dist.export.description import CARD, DESCRIPTION, TENSORS, Description
from hlgp_dist.export.predictor import open_export
from hlgp_dist.export.program import write_program
from hlgp_dist.files import file_sha256, filling, sync, write_atomically, write_text
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Checkpoint
from hlgp_dist.train.environment import environment
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.progress import progress_of
from hlgp_dist.train.supply import manifest_of

PARTS = ("method.", "head.", "trunk.")
"""Of a checkpoint's tensors those that predictions need; the last are there where a method trains the trunk."""
PACKAGES = ("hlgp_dist", "torch", "torchvision", "timm")


def write_export(folder: RunFolder, target: Path, which: str = "last", *, as_program: bool = False) -> Description:
    """Put the model of a checkpoint (see `chosen`) into `target`, which appears whole or not at all.

    as_program: with it `write_program`'s, which holds the backbone's weights and needs them.

    Raises:
        ConfigError: the run has not finished, or `target` holds something else than an earlier export.
    """
    result = folder.read_finished()
    if result is None or "accuracy_matrix" not in result:
        raise ConfigError(f"{folder}: is no finished run; of a search give its best/, else `hlgp train` finishes it")
    config, checkpoint = resolve(folder.config).config, chosen(folder, which)
    with _written_aside(target) as aside:
        _save(checkpoint, aside / TENSORS)
        described = _described(config, checkpoint, result, file_sha256(aside / TENSORS))
        described.write(aside)
        write_text(aside / CARD, card(described, folder.name, trains_trunk=config.method.trains_trunk))
        if as_program:
            write_program(open_export(aside), aside)
    return described


def _save(checkpoint: Checkpoint, path: Path) -> None:
    tensors: dict[str, Tensor] = {
        name: tensor.contiguous() for name, tensor in checkpoint.tensors.items() if name.startswith(PARTS)
    }
    write_atomically(path, save(tensors))  # safetensors' own save_file makes files that nobody else may read


def _described(config: RunConfig, checkpoint: Checkpoint, result: dict[str, Any], tensors: str) -> Description:
    trunk, progress = meta_trunk(config.backbone, precision="fp32"), progress_of(checkpoint)
    form, tasks = trunk.input_format, _tasks(result)
    is_joint = config.train.stream == "joint"
    stages = [[name for task in tasks for name in task]] if is_joint else tasks
    found = metrics.summary(progress.matrix(), progress.totals)
    return Description(
        method=config.method.model_dump(mode="json"),
        tasks=tasks,
        stages=stages,
        learned=checkpoint.position.task,
        stream_length=len(stages) if is_joint else _stream_length(config, tasks),
        seed=config.seed,
        precision=config.engine.precision,
        backbone=config.backbone.model_dump(mode="json") | {"sha256": checkpoint.record["content"]["backbone.weights"]},
        transform=asdict(form.size) | {"mean": list(form.mean), "std": list(form.std)},
        metrics={"evaluated_on": result["evaluated_on"], "accuracy_of_tasks": progress.matrix()[-1], **found},
        configuration=identity_hash(config),
        dataset=checkpoint.record["content"]["data.path"],
        versions={name: version for name, version in _versions().items() if name in PACKAGES},
        tensors=tensors,
    )


def _versions() -> dict[str, str | None]:
    packages = environment()["packages"]
    assert isinstance(packages, dict)
    return packages


def _tasks(result: dict[str, Any]) -> list[list[str]]:
    """Names of classes, task by task."""
    names = iter(result["class_order"])
    return [[next(names) for _ in range(size)] for size in result["task_sizes"]]


def _stream_length(config: RunConfig, tasks: list[list[str]]) -> int:
    """Of which the run may have trained the first part; then the manifest alone tells."""
    if config.benchmark.max_tasks is None:
        return len(tasks)
    whole = config.benchmark.model_copy(update={"max_tasks": None})
    return len(split_tasks(manifest_of(config).classes, whole))


@contextmanager
def _written_aside(target: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of `target`."""
    if target.exists() and not (target / DESCRIPTION).is_file():
        raise ConfigError(f"--out={target}: is there and no exported model; give another folder")
    aside, former = (target.with_name(f".{target.name}.{os.getpid()}.{what}.aside") for what in ("new", "old"))
    with filling(target.parent):
        aside.mkdir(parents=True)
    try:
        yield aside
        if target.exists():
            target.rename(former)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)
    sync(target.parent)
