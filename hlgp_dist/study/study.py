"""`hlgp study`: every cell over every seed, searched first where it has a search, and the table of them all.

Nothing but files ties the parts together, so the same command may run on many machines that share the folder: each
takes the next part that no other is at, and all of them end with the table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlgp_dist.config.identity import difference, identity, place_of
from hlgp_dist.config.load import apply, cells, vary
from hlgp_dist.config.merge import leaves
from hlgp_dist.config.places import joined
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.study_options import Study
from hlgp_dist.config.write import dump
from hlgp_dist.errors import AtWork, BudgetReached, ConfigError, DataError, Interrupted, TrialsFailed, Unreachable
from hlgp_dist.files import write_text
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.prepare import check_contract, former_config
from hlgp_dist.launch.search import check_outcome, check_search, run_search
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.storage import View
from hlgp_dist.launch.worker import as_failure
from hlgp_dist.study.members import PLAN_FILE, SEARCH, STUDY_FILE, seed_folder
from hlgp_dist.study.planning.kept import keep_plan
from hlgp_dist.study.tables import show_search
from hlgp_dist.terminal import console
from hlgp_dist.train.preflight import check_fit, preflight

POLL_SECONDS = 2.0
AWAY_TRIES = 10
"""Of a part, each as long as the store is waited for."""


@dataclass(frozen=True)
class Part:
    """A search or a run of one cell in a folder of its own; `search`: whose winner decides for the run."""

    name: str
    config: RunConfig
    search: Part | None

    @property
    def is_search(self) -> bool:
        """A search ends with a run of its winner, which is the cell's run of the first seed."""
        return self.config.search is not None

    @property
    def place(self) -> str:
        """Its folder, a path or a URL."""
        return joined(self.config.run.dir, str(self.config.run.name))


def run_study(config: RunConfig, stem: str, stop: Stop | None = None) -> None:
    """Run what has not finished, then compare what has. The same command resumes, and may be given more cells.

    Raises:
        ConfigError: cells do not fit data or backbone; nothing was started.
        ContractBroken: a cell's method is a plug-in that breaks it; nothing was started.
        TrialsFailed: some parts failed; the others finished and stand in the table.
        Interrupted: `stop` was requested.
    """
    place = place_of(config, stem)
    parts = parts_of(config, place)
    with opened(place, View(parts=(STUDY_FILE, PLAN_FILE))) as storage:
        write_text(storage.path / STUDY_FILE, dump(apply(config, {"study.only": None, "run.name": storage.run().name})))
        keep_plan(storage.path, config)
    performance = Performance(stop or Stop())
    performance.run(parts)
    failed = performance.failed
    from hlgp_dist.study.report import ReportOptions, run_report  # and with it what draws

    failures = [f"{name}: {reason}" for name, reason in failed.items()]
    try:
        run_report([place], ReportOptions())
    except (ConfigError, DataError) as error:
        if not failures:
            raise
        failures.append(f"its report: {error}")
    if failures:
        raise TrialsFailed("\n  ".join([f"{len(failed)} of {len(parts)} parts of the study failed:", *failures]))


def parts_of(config: RunConfig, place: str) -> list[Part]:
    """Searches first, then seed by seed, so that a study that was cut short compares all its cells.

    Raises:
        ConfigError: a cell does not fit.
    """
    assert config.study is not None
    every, (first, *others) = cells(config), config.study.seeds
    columns = {"telemetry.varied": _columns(config, every.values())}
    by_name = {name: apply(every[name], columns) for name in config.study.chosen()}
    searches = {name: _search(place, name, cell, first) for name, cell in by_name.items() if cell.search is not None}
    alone = [_run(place, name, cell, first, None) for name, cell in by_name.items() if name not in searches]
    rest = [_run(place, name, cell, seed, searches.get(name)) for seed in others for name, cell in by_name.items()]
    parts = [*searches.values(), *alone, *rest]
    _check(parts, config.study)
    return parts


def _columns(config: RunConfig, every: Iterable[RunConfig]) -> list[str]:
    """Of TensorBoard's table of all runs: what axes and cells set, then the seed."""
    assert config.study is not None
    choices = [chosen for choices in config.study.axes.values() for chosen in choices.values()]
    values = [*choices, *config.study.cells.values()]
    given = [".".join(path) for each in values for path, _ in leaves(each)]
    known = {key for cell in every for key in identity(cell)}
    return list(dict.fromkeys([*config.telemetry.varied, *(key for key in given if key in known), "seed"]))


def _search(place: str, name: str, cell: RunConfig, seed: int) -> Part:
    values = {"seed": seed, "run.dir": joined(place, name), "run.name": SEARCH}
    return Part(f"{name}/{SEARCH}", vary(cell, values), None)


def _run(place: str, name: str, cell: RunConfig, seed: int, search: Part | None) -> Part:
    values = {"seed": seed, "run.dir": joined(place, name), "run.name": seed_folder(seed), "search": None}
    return Part(f"{name}/{seed_folder(seed)}", vary(cell, values), search)


def _check(parts: Sequence[Part], study: Study) -> None:
    """Every cell against data and backbone, and each backbone's weights once."""
    seen = set()
    for part in parts:
        backbone = part.config.backbone.model_dump_json()
        try:
            if part.is_search:
                check_search(part.config, part.place)
            elif backbone in seen:
                check_fit(part.config)
            else:
                preflight(part.config)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{study.place_of(part.name.partition('/')[0])}: {error}") from error
        check_contract(part.config.method)
        seen.add(backbone)


class Performance:
    """Runs parts, and waits for those that another process is at; `failed` has reasons by the part's name."""

    def __init__(self, stop: Stop) -> None:
        self.failed: dict[str, str] = {}
        self._began = time.time()
        self._stop = stop
        self._away = Counter[str]()

    def run(self, parts: Sequence[Part]) -> None:
        """Until every part has come to an end, here or elsewhere.

        Raises:
            Interrupted: the stop was requested.
        """
        pending = list(parts)
        while pending:
            before = len(pending)
            for part in list(pending):
                failed = f", {len(self.failed)} failed" if self.failed else ""
                if self._settle(part, f"{len(parts) - len(pending)} of {len(parts)} parts done{failed}"):
                    pending.remove(part)
            if len(pending) == before:
                self._stop.nap(POLL_SECONDS)

    def _settle(self, part: Part, progress: str) -> bool:
        """Whether the part has come to an end."""
        self._stop.check(f"before {part.name}")
        try:
            self._perform(part, progress)
        except AtWork:
            return False
        except Exception as error:  # Ray's own errors, too, are one part's and not the study's
            self._stop.check(f"in {part.name}")
            if isinstance(error, Unreachable) and self._is_tried_again(part, error):
                return False
            self.failed[part.name] = str(as_failure(error))
            console.print(f"{part.name} failed: {self.failed[part.name]}", markup=False, soft_wrap=True)
        return True

    def _is_tried_again(self, part: Part, error: Unreachable) -> bool:
        """For a while a store that is away says nothing about the part."""
        self._away[part.name] += 1
        console.print(f"{part.name}: {error}", markup=False, soft_wrap=True)
        return self._away[part.name] < AWAY_TRIES

    def _perform(self, part: Part, progress: str) -> None:
        config = part.config if part.search is None else apply(part.config, self._winner(part.search))
        former = _outcome(part, config)
        self._refuse_failed(former)
        if not former.is_finished:
            console.print(f"study, {progress}: {part.name}", markup=False, soft_wrap=True)
        if part.is_search:
            _, outcome = run_search(config, part.name, show_search, self._stop)
            with suppress(BudgetReached):  # what it found by then decides
                check_outcome(outcome)
        else:
            start_run(config, part.name, self._stop)

    def _refuse_failed(self, former: Outcome) -> None:
        """What failed in another process since this study began is not tried a second time here.

        A search of which only some trials failed has its winner, and keeps it.
        """
        result = former.result
        failed = result.get("exit_code", 0) not in (0, BudgetReached.exit_code, Interrupted.exit_code)
        if failed and ("best_values" in result or former.written > self._began):
            raise TrialsFailed(str(result["reason"]))

    def _winner(self, search: Part) -> dict[str, object]:
        """The values that a search found best; one of which some trials failed has them, too."""
        result = _outcome(search, search.config).result
        if "best_values" in result:
            best: dict[str, object] = result["best_values"]
            return best
        if search.name in self.failed:
            raise TrialsFailed("its search found no winner")
        raise AtWork(f"{search.name} has been left by another process, to be taken up again")


class Outcome(NamedTuple):
    """Of a part: result.json, empty where nobody has ended it yet, and when it was written."""

    result: Mapping[str, Any]
    is_finished: bool = False
    written: float = 0.0


def _outcome(part: Part, config: RunConfig) -> Outcome:
    """What the configuration came to; nothing where what is there is another one's.

    Raises:
        AtWork: another process is at it.
    """
    with opened(part.place, View(parts=("config.yaml", "result.json"))) as storage:
        folder = storage.run()
        if not folder.path.is_dir():
            return Outcome({})
        with storage.alone():
            result, former = folder.read_result(), former_config(folder.config)
            if result is None or (former is not None and difference(former, config, include_search=True).identity):
                return Outcome({})
            return Outcome(result, folder.read_finished() is not None, folder.result.stat().st_mtime)
