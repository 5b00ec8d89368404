"""What a study will take: every cell over every seed, searched first where it has a search."""

from __future__ import annotations

from dataclasses import dataclass

from hlgp_dist.config.cells import Choices
from hlgp_dist.config.load import cells
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.planning.cluster import Cluster
from hlgp_dist.study.planning.search import SearchEstimate, estimate_search
from hlgp_dist.train.estimate.run import RunEstimate, estimate_run
from hlgp_dist.train.estimate.speed import Speed
from hlgp_dist.train.estimate.work import DataWork


@dataclass(frozen=True)
class CellEstimate:
    """search: ends with its winner's run, which is that of the first seed; runs: over seeds beside that.

    choices: on each axis of the study, none of a cell beside them.
    """

    name: str
    choices: Choices
    run: RunEstimate
    search: SearchEstimate | None
    runs: int

    def hours(self, speed: Speed) -> float:
        """Of devices, as expected."""
        alone = self.run.device_hours(speed)
        if self.search is None:
            return self.runs * alone
        return (self.search.expected.hours or 0.0) + (self.runs + 1) * alone

    def wall(self, speed: Speed) -> float:
        """Hours, of one part after the other."""
        alone = self.run.device_hours(speed) / self.run.ranks
        return self.all_runs * alone + (0.0 if self.search is None else self.search.expected.wall or 0.0)

    @property
    def flops(self) -> float:
        searched = 0.0 if self.search is None else self.search.expected.flops
        return searched + self.all_runs * self.run.flops

    @property
    def steps(self) -> float:
        searched = 0.0 if self.search is None else self.search.expected.steps
        return searched + self.all_runs * self.run.steps

    @property
    def checkpoints(self) -> int:
        """Bytes that stay."""
        searched = 0 if self.search is None else self.search.checkpoints
        return searched + self.runs * self.run.checkpoints.kept

    @property
    def peak(self) -> int:
        """Bytes of a rank."""
        return self.run.memory.peak if self.search is None else self.search.peak

    @property
    def all_runs(self) -> int:
        """The winner's among them."""
        return self.runs + (self.search is not None)

    @property
    def trials(self) -> float:
        """That begin at most."""
        return 0.0 if self.search is None else self.search.most.trials

    @property
    def data(self) -> list[DataWork]:
        """Of its runs and trials."""
        searched = [] if self.search is None else [self.search.refit.data, *(run.data for run in self.search.trials)]
        return [self.run.data, *searched]


def estimate_study(config: RunConfig, cluster: Cluster, speed: Speed | None) -> list[CellEstimate]:
    """Raises:
    ConfigError: a cell does not fit.
    """
    assert config.study is not None
    every, choices, found = cells(config), config.study.choices(), list[CellEstimate]()
    for name in config.study.chosen():
        try:
            found.append(_cell(name, choices[name], every[name], len(config.study.seeds), cluster, speed))
        except ConfigError as error:
            raise ConfigError(f"{config.study.place_of(name)}: {error}") from error
    return found


def _cell(
    name: str, choices: Choices, cell: RunConfig, seeds: int, cluster: Cluster, speed: Speed | None
) -> CellEstimate:
    cluster.at_once(cell.launch.num_workers, 1, None)  # refuses one that has no room
    if cell.search is None:
        return CellEstimate(name, choices, estimate_run(cell, room=cluster.gpu_bytes), None, seeds)
    search = estimate_search(cell, cluster, speed)
    return CellEstimate(name, choices, search.refit, search, seeds - 1)
