"""`hlgp study`: every cell over every seed, searched first where it has a search, and the table of them all.

Nothing but files ties the parts together, so the same command may run on many machines that share the folder: each
takes the next part that no other is at, and all of them end with the table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.config.load import apply, cells, vary
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.errors import AtWork, ConfigError, DataError, Failure, Interrupted, TrialsFailed
from hlgp_dist.files import write_text
from hlgp_dist.launch.search import check_trials, run_search
from hlgp_dist.launch.start import alone, start_run
from hlgp_dist.study.collect import STUDY_FILE
from hlgp_dist.study.report import run_report
from hlgp_dist.study.tables import console, show_search
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.preflight import check_fit, preflight

SEARCH = "search"
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Part:
    """A search or a run of one cell; `search` is the folder of the cell's search, whose winner decides for a run."""

    name: str
    config: RunConfig
    search: Path | None

    @property
    def is_search(self) -> bool:
        """A search ends with a run of its winner, which is the cell's run of the first seed."""
        return self.config.search is not None


def run_study(config: RunConfig, stem: str) -> None:
    """Run what has not finished, then compare what has. The same command resumes, and may be given more cells.

    Raises:
        ConfigError: cells do not fit data or backbone; nothing was started.
        TrialsFailed: some parts failed; the others finished and stand in the table.
        Interrupted: by a signal.
    """
    folder = Path(config.run.dir) / (config.run.name or stem)
    parts = parts_of(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / STUDY_FILE, dump(config))
    failed = _perform(parts)
    try:
        run_report([folder], out=None, baseline=None, apart=True)
    except DataError:
        if not failed:
            raise
    if failed:
        reasons = [f"{name}: {reason}" for name, reason in failed.items()]
        raise TrialsFailed("\n  ".join([f"{len(failed)} of {len(parts)} parts of the study failed:", *reasons]))


def parts_of(config: RunConfig, folder: Path) -> list[Part]:
    """Searches first, then seed by seed, so that a study that was cut short compares all its cells.

    Raises:
        ConfigError: a cell does not fit.
    """
    assert config.study is not None
    by_name = {name: cell for name, cell in cells(config).items() if name in (config.study.only or config.study.cells)}
    _check(by_name)
    first, *others = config.study.seeds
    firsts = [_part(folder, name, cell, first, is_search=cell.search is not None) for name, cell in by_name.items()]
    rest = [_part(folder, name, cell, seed, is_search=False) for seed in others for name, cell in by_name.items()]
    return sorted(firsts, key=lambda part: not part.is_search) + rest


def _part(folder: Path, name: str, cell: RunConfig, seed: int, *, is_search: bool) -> Part:
    own = SEARCH if is_search else f"seed-{seed}"
    values = {"seed": seed, "run.dir": str(folder / name), "run.name": own}
    search = folder / name / SEARCH if cell.search is not None else None
    return Part(f"{name}/{own}", vary(cell, values if is_search else values | {"search": None}), search)


def _check(by_name: dict[str, RunConfig]) -> None:
    """Every cell against data and backbone, and each backbone's weights once."""
    seen = set()
    for name, cell in by_name.items():
        backbone = cell.backbone.model_dump_json()
        try:
            check_fit(cell) if backbone in seen else preflight(cell)
        except ConfigError as error:
            raise ConfigError(f"study.cells.{name}: {error}") from error
        seen.add(backbone)


def _perform(parts: Sequence[Part]) -> dict[str, str]:
    """Run all parts and return the failures by name; what another process is at is waited for."""
    failed: dict[str, str] = {}
    pending = list(parts)
    while pending:
        left = [part for part in pending if not _settle(part, failed, f"{len(parts) - len(pending)} of {len(parts)}")]
        if len(left) == len(pending):
            time.sleep(POLL_SECONDS)
        pending = left
    return failed


def _settle(part: Part, failed: dict[str, str], progress: str) -> bool:
    """Whether the part has come to an end, here or elsewhere."""
    try:
        _run(part, failed, progress)
    except AtWork:
        return False
    except Interrupted:
        raise
    except Failure as failure:
        failed[part.name] = str(failure)
        console.print(f"{part.name} failed: {failure}", markup=False, soft_wrap=True)
    return True


def _run(part: Part, failed: Mapping[str, str], progress: str) -> None:
    if RunFolder(Path(part.config.run.dir) / part.name.rpartition("/")[2]).read_finished() is None:
        console.print(f"study, {progress} parts done: {part.name}", markup=False, soft_wrap=True)
    if part.is_search:
        _, outcome = run_search(part.config, SEARCH, show_search)
        check_trials(outcome)
    elif part.search is None:
        start_run(part.config, part.name)
    else:
        start_run(apply(part.config, _winner(part.search, failed)), part.name)


def _winner(search: Path, failed: Mapping[str, str]) -> dict[str, object]:
    """The values that a search found best; one of which some trials failed has them, too."""
    result: Mapping[str, Any] = {}
    if search.is_dir():
        with alone(search):
            result = RunFolder(search).read_result() or {}
    if "best_values" in result:
        best: dict[str, object] = result["best_values"]
        return best
    if f"{search.parent.name}/{search.name}" in failed:
        raise TrialsFailed("its search found no winner")
    raise AtWork(f"{search} has been left by another process, to be taken up again")
