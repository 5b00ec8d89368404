"""What a report says, section by section, each under the question that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from hlgp_dist.errors import counted
from hlgp_dist.study.collect import Found, Unfinished
from hlgp_dist.study.comparison import NOTHING, Comparison
from hlgp_dist.study.reporting import plots, provenance, ranking
from hlgp_dist.study.reporting.along import QUANTITIES, Fit, effect, error_plots, fits_along, is_of_kinds, varying
from hlgp_dist.study.reporting.costs import actual_grid, pareto, planned_grid, throughput, tradeoff
from hlgp_dist.study.reporting.page import Block, Folded, Listing, Paragraph, Picture, Section, Table
from hlgp_dist.study.reporting.places import Placed, axes_of, by_pictures, lines_along, title_of
from hlgp_dist.study.reporting.searches import history
from hlgp_dist.study.reporting.style import Look, drawn, looks, styled
from hlgp_dist.study.scaling import PowerLaw
from hlgp_dist.study.searches import FoundSearch, search_grid
from hlgp_dist.terminal import Grid
from hlgp_dist.train.estimate.speed import Bench

UNTIMED = tuple(quantity for quantity in QUANTITIES if not quantity.is_timed)
TIMED = tuple(quantity for quantity in QUANTITIES if quantity.is_timed)


@dataclass(frozen=True)
class Material:
    """What is known of some folders. bench: of the device that ran them, where it was measured; commands: that
    lead to all of it again.
    """

    found: Found
    cells: Sequence[Placed]
    comparisons: Sequence[Comparison]
    bench: Bench | None
    commands: Sequence[str]


def sections_of(material: Material) -> list[Section]:
    """All that have something to say."""
    cells = material.cells
    seen = _looks(cells)
    with styled():
        found = [
            _results(material),
            _tasks(cells, seen),
            *(_axis(axis, cells, seen) for axis in axes_of(cells)),
            _costs(cells, seen, material.bench),
            _searches(material.found.searches),
            _left_out(material.found.unfinished),
            Section("Sources", "How can all of this be had again?", provenance.blocks(material.commands, cells)),
        ]
    return [section for section in found if section.blocks]


def _looks(cells: Sequence[Placed]) -> Mapping[str, Look]:
    """One for each series of a table and of an axis."""
    lines = [line.series for axis in axes_of(cells) for line in lines_along(axis, cells)]
    return looks([*(cell.series for cell in cells), *lines])


def _results(material: Material) -> Section:
    blocks: list[Block] = []
    crossed = ranking.crossed(material.cells)
    if crossed is not None:
        blocks.append(Table(crossed[0], marks=crossed[1]))
    for comparison in material.comparisons:
        blocks += [
            Paragraph(comparison.shared),
            *map(Table, (comparison.accuracies, *comparison.differences)),
            Table(comparison.costs, is_timed=True),
        ]
        if comparison.notes:
            blocks.append(Folded("What to know before comparing", [Listing(comparison.notes)]))
    return Section("Results", "How accurate is each setting, and what does it forget?", blocks)


def _tasks(cells: Sequence[Placed], seen: Mapping[str, Look]) -> Section:
    mapped = plots.mapped(cells)
    part = "" if len(mapped) == len(cells) else f" The most accurate {len(mapped)} of {len(cells)} rows."
    learned = f"Means over seeds; the diagonal is each task when it is new.{part}"
    blocks = [
        *_figure("over_tasks", "Mean, and a deviation over seeds.", plots.over_tasks(cells, seen)),
        *_figure("stability", "A point a run: right learns more, low forgets less.", plots.stability(cells, seen)),
        *_figure("matrices", learned, plots.matrices(mapped)),
        *_figure("confusions", f"Whose prompts pictures got in the last test.{part}", plots.confusions(mapped)),
    ]
    return Section("Over tasks", "When is accuracy lost, and which tasks lose it?", blocks)


def _axis(axis: str, cells: Sequence[Placed], seen: Mapping[str, Look]) -> Section:
    slug = "".join(sign if sign.isalnum() else "_" for sign in axis)
    blocks = _figure(f"along_{slug}", "Mean and deviation over seeds.", effect(axis, cells, seen))
    fits = fits_along(axis, cells)
    for is_timed, name in ((False, f"error_{slug}"), (True, f"error_{slug}_by_time")):
        part = [fit for fit in fits if fit.quantity.is_timed == is_timed]
        if part:
            told = "A line through points is a fitted power law; a table below has its exponent."
            caption = f"Logarithmic axes. {told}" if any(fit.law for fit in part) else "Logarithmic axes."
            blocks += _figure(name, caption, error_plots(part, seen), is_timed=is_timed)
            blocks += [Table(grid, is_timed=is_timed) for grid in _laws(part)]
    more = "" if is_of_kinds(axis, cells) else ", and what is more of it worth"
    question = f"What does the choice of {axis} do to accuracy and forgetting{more}?"
    return Section(f"Along {axis}", question, blocks)


def _costs(cells: Sequence[Placed], seen: Mapping[str, Look], bench: Bench | None) -> Section:
    caption = "On the dotted line: more accuracy costs more; what is below it is beaten in both."
    blocks = _figure("tradeoff", caption, tradeoff(cells, seen, UNTIMED))
    blocks += _figure("tradeoff_by_time", caption, tradeoff(cells, seen, TIMED), is_timed=True)
    for members in by_pictures(cells):
        for quantity in varying(QUANTITIES, members):
            names = ", ".join(cell.name for cell in pareto(members, quantity))
            line = f"{title_of(members[0].run)}: not beaten in both accuracy and {quantity.label}: {names}."
            blocks.append(Paragraph(line, is_timed=quantity.is_timed))
    planned, rates = planned_grid(cells), throughput(cells)
    blocks += [] if planned is None else [Table(planned)]
    blocks.append(Table(actual_grid(cells, bench), is_timed=True))
    if rates:
        bars = plots.bars(rates, "training images/s a device")
        blocks += _figure("throughput", "Mean and deviation over seeds.", bars, is_timed=True)
    return Section("Costs", "What does accuracy cost, and did it cost what was planned?", blocks)


def _searches(searches: Sequence[FoundSearch]) -> Section:
    caption = "On validation pictures. Importance needs two keys and eight configurations that ran to their end."
    blocks = []
    for number, search in enumerate(searches):
        winner = "no winner" if search.best is None else f"winner {search.best}"
        title = f"{search.folder}: {counted(len(search.trials), 'trial')} of {', '.join(search.keys)}, {winner}"
        figure = _figure(f"search_{number:02d}", caption, history(search))
        hours = "unknown" if search.hours is None else f"{search.hours:.3g}"
        took = Paragraph(f"Device-hours of its trials: {hours}.", is_timed=True)
        blocks.append(Folded(title, [took, *figure, Table(search_grid(search.trials, "trials, best first"))]))
    return Section("Searches", "What was tried, and which values mattered?", blocks)


def _left_out(unfinished: Sequence[Unfinished]) -> Section:
    lines = list(map(str, unfinished))
    return Section("Left out", "What did not finish, and why?", [Listing(lines)] if lines else [])


def _figure(name: str, caption: str, figure: Figure | None, *, is_timed: bool = False) -> list[Block]:
    if figure is None:
        return []
    return [Picture(name, caption, drawn(figure, name), is_timed)]


def _laws(fits: Sequence[Fit]) -> list[Grid]:
    """One table, or none."""
    rows = [_law(fit, fit.law) for fit in fits if fit.law is not None]
    columns = ["series", "quantity", "points", "exponent", "95 %, over seeds alone", "R²"]
    title = "error = a × quantity^-exponent, from three points on; it holds between them"
    return [Grid(title, columns, rows)] if rows else []


def _law(fit: Fit, law: PowerLaw) -> list[str]:
    known = law.low is not None and law.high is not None
    return [
        fit.line.series,
        fit.quantity.label,
        str(len(fit.quantities)),
        f"{law.exponent:.3f}",
        f"[{law.low:.3f}, {law.high:.3f}]" if known else NOTHING,
        NOTHING if law.r_squared is None else f"{law.r_squared:.2f}",
    ]
