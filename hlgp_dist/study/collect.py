"""The runs below some folders: those that finished, and why the others did not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hlgp_dist.config.cells import study_cells
from hlgp_dist.config.grammar import GrammarError, read_document
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.train import metrics
from hlgp_dist.train.folder import TRIALS, RunFolder

NEEDED = ("backbone", "dataset", "evaluated_on", "class_order", "task_sizes", "num_test_images", "accuracy_matrix")
"""Without these a result cannot be known to be like another."""
ROUNDING = 1e-9
STUDY_FILE = "study.yaml"
"""In a study's folder, whose folders are its cells."""
TRACES = ("result.json", "env.json", "logs", TRIALS)
"""What a run or a search leaves beside its config.yaml; any folder may hold a file of that name."""


@dataclass(frozen=True)
class Run:
    """A finished run; `environment` is its env.json, empty where there is none."""

    folder: RunFolder
    config: RunConfig
    result: Mapping[str, Any]
    environment: Mapping[str, Any]
    cell: str | None = None
    """Its name in the study that it is of."""

    def matrix(self) -> list[list[float]]:
        """a[t][i] with i <= t."""
        return _lower_triangle(self.result["accuracy_matrix"])


@dataclass(frozen=True)
class Unfinished:
    """A run or a search without a result that a table could hold."""

    folder: RunFolder
    reason: str


def find_runs(folders: Sequence[RunFolder]) -> tuple[list[Run], list[Unfinished]]:
    """Every run at or below the folders, once each. Of a search only `best/` counts: trials saw no test picture.

    Raises:
        ConfigError: there is no such folder.
    """
    found: dict[Path, Run | Unfinished] = {}
    for folder in folders:
        if not folder.path.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        for entry in _below(folder):
            found.setdefault(entry.folder.path.resolve(), entry)
    runs = [entry for entry in found.values() if isinstance(entry, Run)]
    return runs, [entry for entry in found.values() if isinstance(entry, Unfinished)]


def _below(folder: RunFolder, cell: str | None = None) -> Iterator[Run | Unfinished]:
    if _is_left_by_a_run(folder):
        yield from (replace(entry, cell=cell) if isinstance(entry, Run) else entry for entry in _read(folder))
        return
    cells = _cells(folder)
    inside = [path for path in folder.path.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    for path in sorted(inside, key=lambda path: (cells.index(path.name) if path.name in cells else len(cells), path)):
        yield from _below(folder.below(path.name), path.name if cells else cell)


def _cells(folder: RunFolder) -> list[str]:
    """Of a study's folder, in the study's own order; empty for other folders."""
    try:
        document = read_document((folder.path / STUDY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except GrammarError as error:
        raise ConfigError(f"{folder}/{STUDY_FILE}:{error.line}: {error}") from None
    study = document.values.get("study")
    return list(study_cells(study)) if isinstance(study, dict) else []


def _is_left_by_a_run(folder: RunFolder) -> bool:
    if folder.config.is_file():
        return any((folder.path / name).exists() for name in TRACES)
    return folder.read_result() is not None


def _read(folder: RunFolder) -> Iterator[Run | Unfinished]:
    try:
        config = resolve(folder.config).config
    except ConfigError as error:
        yield Unfinished(folder, str(error))
        return
    if config.search is not None:
        best = folder.below("best")
        has_winner = best.path.is_dir()
        yield from _read(best) if has_winner else [Unfinished(folder, f"a search without a winner: {_why(folder)}")]
        return
    result = folder.read_finished()
    reason = _why(folder) if result is None else _defect(result)
    if result is None or reason is not None:
        yield Unfinished(folder, str(reason))
    else:
        yield Run(folder, config, result, _environment(folder))


def _defect(result: Mapping[str, Any]) -> str | None:
    """Why a finished run's result cannot be compared: an older run's, or one that is not as it was written."""
    missing = [key for key in NEEDED if key not in result]
    if missing:
        return f"result.json has no {', '.join(missing)}: it cannot be compared"
    try:
        matrix, images = _lower_triangle(result["accuracy_matrix"]), result["num_test_images"]
        right = [len(images), len(result["class_order"])] == [len(matrix[-1]), sum(result["task_sizes"])]
        numbers, weights = metrics.of_result(matrix, images), result["backbone"]["sha256"]
    except (TypeError, ValueError, LookupError) as error:
        return f"result.json is not as a run writes it ({type(error).__name__}: {error})"
    if not right or not isinstance(weights, str):
        return "result.json is not as a run writes it: tasks, classes and the accuracy matrix do not fit each other"
    for key, value in numbers.items():
        if not _is(result.get(key), value):
            return f"result.json is not as a run writes it: {key} is {result.get(key)}, by its accuracy matrix {value}"
    return None


def _is(stated: object, value: float | None) -> bool:
    if value is None or not isinstance(stated, int | float):
        return stated is value
    return math.isclose(stated, value, abs_tol=ROUNDING)


def _lower_triangle(matrix: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """Without what lies above the diagonal."""
    return [[value for value in row if value is not None] for row in matrix]


def _why(folder: RunFolder) -> str:
    """Why there is no finished result."""
    result = folder.read_result()
    if result is not None:
        return f"exit code {result['exit_code']}: {result.get('reason')}"
    return "result.json is damaged" if folder.result.exists() else "no result.json: at work, or ended without a word"


def _environment(folder: RunFolder) -> dict[str, Any]:
    try:
        environment = json.loads(folder.environment.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return environment if isinstance(environment, dict) else {}
