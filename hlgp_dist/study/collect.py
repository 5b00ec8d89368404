"""The runs and searches below some folders: those that finished, and why the others did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from hlgp_dist.config.load import resolve
from hlgp_dist.config.merge import leaves, plain, value_at
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.members import Member, damages, idle, members_of, not_begun, read_object
from hlgp_dist.study.searches import FoundSearch, search_in
from hlgp_dist.study.sound import defect, lower_triangle
from hlgp_dist.train.folder import BEST, TRIALS, RunFolder

TRACES = ("result.json", "env.json", "logs", TRIALS)
"""What a run or a search leaves beside its config.yaml; any folder may hold a file of that name."""


@dataclass(frozen=True)
class Run:
    """A finished run, whose result is sound; `environment` is its env.json, empty where there is none; member: where it
    stands in a study.
    """

    folder: RunFolder
    config: RunConfig
    result: Mapping[str, Any]
    environment: Mapping[str, Any]
    member: Member | None = None

    @property
    def cell(self) -> str | None:
        """Its name in the study that it is of."""
        return None if self.member is None else self.member.cell

    @property
    def planned(self) -> Mapping[str, Any] | None:
        """What its study planned of it, as `hlgp plan --json` says."""
        plans = () if self.member is None else self.member.plans
        return next((plan for values, plan in plans if not values or _has(self.config, values)), None)

    def matrix(self) -> list[list[float]]:
        """a[t][i] with i <= t."""
        return lower_triangle(self.result["accuracy_matrix"])

    def number(self, key: str) -> float | None:
        """Of the result by its dotted key, one of `NUMBERS`; None where an older or another run has none."""
        value: float | None = value_at(self.result, key.split("."))
        return value


@dataclass(frozen=True)
class Unfinished:
    """A run or a search without a result that a table could hold."""

    folder: RunFolder
    reason: str

    def __str__(self) -> str:
        return f"{self.folder}: {self.reason}"


class Found(NamedTuple):
    """Below some folders."""

    runs: list[Run]
    unfinished: list[Unfinished]
    searches: list[FoundSearch]


def find(folders: Sequence[RunFolder]) -> Found:
    """Everything at or below the folders, once each. Of a search only `best/` is a run: trials saw no test picture.

    Raises:
        ConfigError: there is no such folder.
    """
    found: dict[object, Run | Unfinished | FoundSearch] = {}
    for folder in folders:
        if not folder.path.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        for entry in _below(folder):
            reason = entry.reason if isinstance(entry, Unfinished) else None
            found.setdefault((type(entry), entry.folder.path.resolve(), reason), entry)
    runs = [entry for entry in found.values() if isinstance(entry, Run)]
    unfinished = [entry for entry in found.values() if isinstance(entry, Unfinished)]
    return Found(runs, unfinished, [entry for entry in found.values() if isinstance(entry, FoundSearch)])


def _below(folder: RunFolder, member: Member | None = None) -> Iterator[Run | Unfinished | FoundSearch]:
    if _is_left_by_a_run(folder):
        yield from (replace(entry, member=member) if isinstance(entry, Run) else entry for entry in _read(folder))
        return
    members, unwanted = members_of(folder), idle(folder)
    order = list(members)
    yield from (Unfinished(folder, told) for told in (*damages(folder), *not_begun(folder)))
    inside = [path for path in folder.path.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    for path in sorted(inside, key=lambda path: (order.index(path.name) if path.name in members else len(order), path)):
        own = members.get(path.name, Member(str(folder), path.name, {})) if members else member
        below = folder.below(path.name)
        left_out = below.below(unwanted[path.name]) if path.name in unwanted else None
        for entry in _below(below, own):
            if left_out is not None and entry.folder.path.is_relative_to(left_out.path):
                yield Unfinished(left_out, "not what its study asks for any more")
            else:
                yield entry


def _has(config: RunConfig, values: Mapping[str, Any]) -> bool:
    known = {".".join(path): value for path, value in leaves(config.model_dump(mode="json"))}
    return all(known.get(key) == plain(value) for key, value in values.items())


def _is_left_by_a_run(folder: RunFolder) -> bool:
    if folder.config.is_file():
        return any((folder.path / name).exists() for name in TRACES)
    return folder.read_result() is not None


def _read(folder: RunFolder) -> Iterator[Run | Unfinished | FoundSearch]:
    try:
        config = resolve(folder.config).config
    except ConfigError as error:
        yield Unfinished(folder, str(error))
        return
    if config.search is not None:
        yield from search_in(folder, config.search)
        best = folder.below(BEST)
        has_winner = best.path.is_dir()
        if not has_winner:
            yield Unfinished(folder, f"a search without a winner: {_why(folder)}")
        elif folder.read_result() is None:
            yield Unfinished(folder, _why(folder))
        yield from _read(best) if has_winner else ()
        return
    result = folder.read_finished()
    reason = _why(folder) if result is None else defect(result)
    if result is None or reason is not None:
        yield Unfinished(folder, str(reason))
    else:
        yield Run(folder, config, result, read_object(folder.environment))


def _why(folder: RunFolder) -> str:
    """Why there is no finished result."""
    result = folder.read_result()
    if result is not None:
        return f"exit code {result['exit_code']}: {result.get('reason')}"
    return "result.json is damaged" if folder.result.exists() else "no result.json: at work, or ended without a word"
