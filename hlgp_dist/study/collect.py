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
MEASURED = (
    *("num_trainable_parameters", "num_head_parameters", "num_stored_parameters"),
    *("images_per_second", "training_seconds", "num_workers", "peak_memory_bytes"),
)
"""What is counted on in a result beside its accuracies."""
ROUNDING = 1e-9
STUDY_FILE, PLAN_FILE = "study.yaml", "plan.json"
"""In a study's folder, whose folders are its cells: its configuration, and what it planned of each cell."""
TRACES = ("result.json", "env.json", "logs", TRIALS)
"""What a run or a search leaves beside its config.yaml; any folder may hold a file of that name."""


@dataclass(frozen=True)
class Part:
    """Of a study: a cell's name, its choice on each axis, and what was planned of a run, as `hlgp plan --json` says."""

    study: str
    cell: str
    choices: Mapping[str, str]
    planned: Mapping[str, Any] | None


@dataclass(frozen=True)
class Run:
    """A finished run; `environment` is its env.json, empty where there is none."""

    folder: RunFolder
    config: RunConfig
    result: Mapping[str, Any]
    environment: Mapping[str, Any]
    part: Part | None = None
    """Where it stands in a study."""

    @property
    def cell(self) -> str | None:
        """Its name in the study that it is of."""
        return None if self.part is None else self.part.cell

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


def _below(folder: RunFolder, part: Part | None = None) -> Iterator[Run | Unfinished]:
    if _is_left_by_a_run(folder):
        yield from (replace(entry, part=part) if isinstance(entry, Run) else entry for entry in _read(folder))
        return
    cells = _cells(folder)
    order = list(cells)
    yield from (Unfinished(folder.below(*names), "not begun") for names in _not_begun(folder))
    inside = [path for path in folder.path.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    for path in sorted(inside, key=lambda path: (order.index(path.name) if path.name in cells else len(cells), path)):
        own = cells.get(path.name, Part(str(folder), path.name, {}, None)) if cells else part
        yield from _below(folder.below(path.name), own)


def _cells(folder: RunFolder) -> dict[str, Part]:
    """Of a study's folder, in the study's own order; empty for other folders."""
    plan, cells = read_object(folder.path / PLAN_FILE), study_cells(_study(folder))
    return {name: Part(str(folder), name, choices, _run_of(plan, name)) for name, choices in cells.items()}


def _study(folder: RunFolder) -> dict[str, Any]:
    """The section of a study's folder; empty for other folders."""
    try:
        document = read_document((folder.path / STUDY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except GrammarError as error:
        raise ConfigError(f"{folder}/{STUDY_FILE}:{error.line}: {error}") from None
    study = document.values.get("study")
    return study if isinstance(study, dict) else {}


def _not_begun(folder: RunFolder) -> Iterator[tuple[str, str]]:
    """Cells and seeds of a study's folder that have no folder yet; the first seed's run may be in its search."""
    study = _study(folder)
    seeds = study.get("seeds")
    for name in study_cells(study):
        for place, seed in enumerate(seeds if isinstance(seeds, list) else []):
            names = [f"seed-{seed}", *["search"] * (place == 0)]
            if not any((folder.path / name / own).is_dir() for own in names):
                yield name, names[0]


def _run_of(plan: Mapping[str, Any], cell: str) -> Mapping[str, Any] | None:
    """None where an older study, or nobody, planned it."""
    found: Any = plan
    for key in ("cells", cell, "run"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if _is_plan(found) else None


def _is_plan(found: Any) -> bool:
    """Whether what a report reads of it is there."""
    try:
        numbers = [found[key] for key in ("steps", "flops", "pass_flops")] + [found["memory"]["peak"]]
        numbers += [stage[key] for stage in found["stages"] for key in ("trained", "training")]
    except (TypeError, LookupError):
        return False
    return all(value is not None and _is_number(value) for value in numbers)


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
        yield Run(folder, config, result, read_object(folder.environment))


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
    for key in MEASURED:
        if not _is_number(result.get(key)):
            return f"result.json is not as a run writes it: {key} is {result.get(key)!r}, which is no number"
    for key, value in numbers.items():
        if not _is(result.get(key), value):
            return f"result.json is not as a run writes it: {key} is {result.get(key)}, by its accuracy matrix {value}"
    return None


def _is_number(value: object) -> bool:
    """Or None, where a run has none."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


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


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's; empty where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
