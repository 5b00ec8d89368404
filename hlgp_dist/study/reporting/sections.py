"""What a report says, section by section, each under the question that it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from hlgp_dist.study.collect import Unfinished
from hlgp_dist.study.comparison import NOTHING, Comparison
from hlgp_dist.study.reporting import plots, provenance, ranking
from hlgp_dist.study.reporting.along import QUANTITIES, Fit, effect, error_plots, fits_along
from hlgp_dist.study.reporting.costs import actual_grid, pareto, planned_grid, throughput, tradeoff
from hlgp_dist.study.reporting.page import Block, Section, folded, listed, table, text
from hlgp_dist.study.reporting.places import Placed, axes_of, lines_along
from hlgp_dist.study.reporting.searches import FoundSearch, history, search_grid
from hlgp_dist.study.reporting.style import Drawing, Look, drawn, looks, styled
from hlgp_dist.terminal import Grid
from hlgp_dist.train.folder import RunFolder

UNTIMED = tuple(quantity for quantity in QUANTITIES if not quantity.is_timed)
TIMED = tuple(quantity for quantity in QUANTITIES if quantity.is_timed)


@dataclass(frozen=True)
class Material:
    """What is known of some folders. peak: FLOP/s of a device's matrix products, where they were measured."""

    folders: Sequence[RunFolder]
    cells: Sequence[Placed]
    comparisons: Sequence[Comparison]
    searches: Sequence[FoundSearch]
    unfinished: Sequence[Unfinished]
    peak: float | None


@dataclass
class Writer:
    """Draws and collects: `drawings` by file name, `grids` in the order of the page."""

    material: Material
    progress: Callable[[str], None]
    drawings: dict[str, Drawing] = field(default_factory=dict)
    grids: list[Grid] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)

    def __post_init__(self) -> None:
        cells = self.material.cells
        names = [cell.series for cell in cells]
        names += [line.series or axis for axis in axes_of(cells) for line in lines_along(axis, cells)]
        self._looks: Mapping[str, Look] = looks(names) | {"": looks([""])[""]}

    def sections(self) -> list[Section]:
        """All that have something to say."""
        with styled():
            found = [
                self._results(),
                self._tasks(),
                *map(self._axis, axes_of(self.material.cells)),
                self._costs(),
                self._searches(),
                self._left_out(),
                self._sources(),
            ]
        return [section for section in found if section.blocks]

    def _results(self) -> Section:
        blocks: list[Block] = []
        crossed = ranking.crossed(self.material.cells)
        if crossed is not None:
            blocks.append(self._table(crossed[0], marks=crossed[1]))
        for comparison in self.material.comparisons:
            accuracies, costs, *differences = comparison.grids
            blocks += [text(comparison.shared), self._table(accuracies), *map(self._table, differences)]
            blocks += [self._table(costs, is_timed=True)]
            blocks += [folded("What to know before comparing", [listed(comparison.notes)])] if comparison.notes else []
        return Section("Results", "How accurate is each setting, and what does it forget?", blocks)

    def _tasks(self) -> Section:
        cells = self.material.cells
        blocks = [
            *self._figure(
                "over_tasks", "Mean and standard deviation over seeds.", plots.over_tasks(cells, self._looks)
            ),
            *self._figure(
                "stability",
                "One point a run: right learns more, low forgets less.",
                plots.stability(cells, self._looks),
            ),
            *self._figure(
                "matrices", "Means over seeds; the diagonal is each task when it is new.", plots.matrices(cells)
            ),
        ]
        return Section("Over tasks", "When is accuracy lost, and which tasks lose it?", blocks)

    def _axis(self, axis: str) -> Section:
        cells = self.material.cells
        fits = fits_along(axis, cells)
        self.fits += fits
        kept, timed = ([fit for fit in fits if fit.quantity.is_timed == is_timed] for is_timed in (False, True))
        slug = "".join(sign if sign.isalnum() else "_" for sign in axis)
        blocks = self._figure(
            f"along_{slug}", "Mean ± standard deviation over seeds.", effect(axis, cells, self._looks)
        )
        caption = "Logarithmic axes. A line through points is a fitted power law; a table below has its exponent."
        for part, name in ((kept, f"error_{slug}"), (timed, f"error_{slug}_by_time")):
            if part:
                is_timed = part is timed
                blocks += self._figure(name, caption, error_plots(part, self._looks), is_timed=is_timed)
                blocks += [self._table(grid, is_timed=is_timed) for grid in _laws(part)]
        return Section(
            f"Along {axis}", f"What does {axis} do to accuracy and forgetting, and what is more of it worth?", blocks
        )

    def _costs(self) -> Section:
        cells, peak = self.material.cells, self.material.peak
        blocks = self._figure(
            "tradeoff", "Nothing above the dotted line is to be had for less.", tradeoff(cells, self._looks, UNTIMED)
        )
        blocks += self._figure(
            "tradeoff_by_time", "The same by time.", tradeoff(cells, self._looks, TIMED), is_timed=True
        )
        for quantity in QUANTITIES:
            if any(quantity.of(cell) is not None for cell in cells):
                names = ", ".join(cell.name for cell in pareto(cells, quantity))
                blocks.append(
                    text(f"Not beaten in both accuracy and {quantity.label}: {names}.", is_timed=quantity.is_timed)
                )
        planned, rates = planned_grid(cells), throughput(cells)
        blocks += [] if planned is None else [self._table(planned)]
        blocks.append(self._table(actual_grid(cells, peak), is_timed=True))
        if rates:
            bars = plots.bars(rates, "training images/s a device")
            blocks += self._figure("throughput", "Mean and deviation over seeds.", bars, is_timed=True)
        return Section("Costs", "What does accuracy cost, and did it cost what was planned?", blocks)

    def _searches(self) -> Section:
        blocks: list[Block] = []
        for number, search in enumerate(self.material.searches):
            caption = "On validation pictures. Importance needs two keys and eight trials that ran to their end."
            parts = self._figure(f"search_{number:02d}", caption, history(search))
            grid = search_grid(search)
            self.grids.append(grid)
            title = f"{search.folder}: {len(search.trials)} trials of {', '.join(search.keys)}"
            blocks.append(folded(title, [*parts, table(grid)]))
        return Section("Searches", "What was tried, and which values mattered?", blocks)

    def _left_out(self) -> Section:
        lines = [f"{entry.folder}: {entry.reason}" for entry in self.material.unfinished]
        return Section("Left out", "What did not finish, and why?", [listed(lines)] if lines else [])

    def _sources(self) -> Section:
        blocks = provenance.blocks(self.material.folders, self.material.cells)
        return Section("Sources", "How can all of this be had again?", blocks)

    def _table(self, grid: Grid, *, is_timed: bool = False, marks: frozenset[tuple[int, int]] = frozenset()) -> Block:
        self.grids.append(grid)
        return table(grid, is_timed=is_timed, marks=marks)

    def _figure(self, name: str, caption: str, figure: Figure | None, *, is_timed: bool = False) -> list[Block]:
        if figure is None:
            return []
        self.progress(name)
        self.drawings[name] = drawn(figure, name)
        return [Block("figure", caption, svg=self.drawings[name].inline, is_timed=is_timed)]


def _laws(fits: Sequence[Fit]) -> list[Grid]:
    rows = []
    for fit in fits:
        if fit.law is not None:
            law = fit.law
            sure = NOTHING if law.low is None or law.high is None else f"[{law.low:.3f}, {law.high:.3f}]"
            name = fit.line.series or fit.axis
            rows.append(
                [
                    name,
                    fit.quantity.label,
                    str(len(fit.quantities)),
                    f"{law.exponent:.3f}",
                    sure,
                    f"{law.r_squared:.2f}",
                ]
            )
    columns = ["series", "quantity", "points", "exponent", "95 % over seeds", "R²"]
    return (
        [Grid("error = a × quantity^-exponent, from three points on; it holds between them", columns, rows)]
        if rows
        else []
    )
