"""`model.json`: everything beside tensors and backbone weights that predictions are made by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import write_json
from hlgp_dist.types import TaskSpec

SCHEMA_VERSION = 1
TENSORS, DESCRIPTION, CARD = "model.safetensors", "model.json", "README.md"


@dataclass(frozen=True)
class Description:
    """An exported model.

    method: the options; tasks: names of classes, task by task, in the order of the logits; stages: the same as they
    were trained, all together where `train.stream` is joint; learned: how many stages were, the others have no logit;
    stream_length: stages of the whole stream; seed: of what a method draws and does not save; precision: the trunk's.
    backbone: as in a configuration, sha256 whole; transform: a file's way into the trunk, in timm's words.
    metrics, configuration (its hash), dataset (its digest), versions: where it comes from. tensors: the file's sha256.
    """

    method: dict[str, Any]
    tasks: list[list[str]]
    stages: list[list[str]]
    learned: int
    stream_length: int
    seed: int
    precision: str
    backbone: dict[str, Any]
    transform: dict[str, Any]
    metrics: dict[str, Any]
    configuration: str
    dataset: str
    versions: dict[str, str | None]
    tensors: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the logits."""
        return tuple(name for stage in self.stages[: self.learned] for name in stage)

    @property
    def learned_tasks(self) -> list[list[str]]:
        """The tasks whose classes have logits."""
        return self.tasks if len(self.stages) < len(self.tasks) else self.tasks[: self.learned]

    def configured(self, weights: str | None = None) -> RunConfig:
        """What trunk and method are built by; weights: in place of those that are named.

        Raises:
            ConfigError: this version, or this machine's plug-ins, know no such options.
        """
        backbone = self.backbone if weights is None else self.backbone | {"weights": weights}
        values = {"data": {"path": "."}, "seed": self.seed, "method": self.method, "backbone": backbone}
        return resolve(values | {"engine": {"precision": self.precision}}).config

    def write(self, folder: Path) -> None:
        """Into model.json."""
        write_json(folder / DESCRIPTION, {"schema_version": SCHEMA_VERSION, **asdict(self)})


def specs(names: list[list[str]]) -> tuple[TaskSpec, ...]:
    """Tasks of these classes, labelled from 0 on."""
    starts = [sum(map(len, names[:index])) for index in range(len(names))]
    return tuple(TaskSpec(index, start, tuple(names[index])) for index, start in enumerate(starts))


def read_description(folder: Path) -> Description:
    """Of an exported model.

    Raises:
        ConfigError: it is none, or of another schema version.
        DataError: its model.json is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ConfigError(f"{folder}: no exported model, there is no {DESCRIPTION}; `hlgp export RUN` makes one")
    try:
        values = json.loads(path.read_text())
        version = values.pop("schema_version")
        if version == SCHEMA_VERSION:
            return Description(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is damaged ({error}); export the run again") from error
    raise ConfigError(
        f"{path}: schema_version = {version}, this hlgp_dist reads {SCHEMA_VERSION}; export the run again"
    )
