"""`hlgp report`: finished runs side by side, on the terminal and as DIR/report/, a page with its figures and tables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import as_csv, write_atomically, write_text
from hlgp_dist.launch.opening import opened
from hlgp_dist.launch.storage import View, of_report
from hlgp_dist.study.collect import Run, Unfinished, find
from hlgp_dist.study.comparison import Comparison, compare
from hlgp_dist.study.frames import frames_of
from hlgp_dist.study.likeness import alike
from hlgp_dist.study.reporting.latex import booktabs
from hlgp_dist.study.reporting.page import Picture, Table, all_blocks, render
from hlgp_dist.study.reporting.places import Placed, panel_title
from hlgp_dist.study.reporting.placing import placed
from hlgp_dist.study.reporting.provenance import commands_of
from hlgp_dist.study.reporting.ranking import answers
from hlgp_dist.study.reporting.sections import Material, sections_of
from hlgp_dist.study.reporting.style import Drawing
from hlgp_dist.terminal import Grid, console, show_grid
from hlgp_dist.train.estimate.speed import read_bench
from hlgp_dist.train.folder import RunFolder

REPORT = "report"
"""Below the first folder, for all that a report writes."""
PAGE = "index.html"


@dataclass(frozen=True)
class ReportOptions:
    """What the command line says beside the folders. apart: unlike runs stand in tables of their own, in place of being
    refused, as a study's always do; bench: JSON of `hlgp bench step`, by which MFU and planned hours are.
    """

    out: Path | None = None
    baseline: str | None = None
    apart: bool = False
    bench: Path | None = None

    def words(self) -> list[str]:
        """As the command line says them."""
        values = {"--out": self.out, "--baseline": self.baseline, "--bench": self.bench}
        given = [word for name, value in values.items() if value is not None for word in (name, str(value))]
        return [*given, *["--apart"] * self.apart]


def run_report(places: Sequence[str], options: ReportOptions) -> None:
    """Compare what finished below the paths or URLs.

    Raises:
        ConfigError: the runs do not stand in one table, no row of any is the baseline, or `out` is a file.
        DataError: no run has finished.
    """
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out {options.out}: is a file; give a folder")
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(place, View(of_report))).run() for place in places]
        _report(folders, options)


def _report(folders: Sequence[RunFolder], options: ReportOptions) -> None:
    found = find(folders)
    if not found.runs:
        places = ", ".join(map(str, folders))
        raise DataError("\n  ".join([f"no finished run below {places}", *map(str, found.unfinished)]))
    bench = None if options.bench is None else read_bench(options.bench)
    tables = alike(found.runs) if options.apart or _is_of_one_study(found.runs) else [found.runs]
    cells = placed(found.runs)
    baselines = _baselines(options.baseline, cells)
    comparisons = [_titled(compare(like, baselines), number, cells) for number, like in enumerate(tables)]
    target = folders[0].below(REPORT) if options.out is None else RunFolder(options.out)
    for comparison in comparisons:
        _show(comparison)
    for entry in found.unfinished:
        console.print(f"left out: {entry}", markup=False, soft_wrap=True)
    commands = [*commands_of(found.runs), shlex.join(["hlgp", "report", *map(str, folders), *options.words()])]
    _write(target.path, f"Report of {folders[0].name}", Material(found, cells, comparisons, bench, commands))
    console.print(
        f"the whole report: {target}/{PAGE}\none row a run:    {target}/comparison.csv\n"
        f"as Markdown:      {target}/comparison.md, for LaTeX {target}/tables.tex",
        soft_wrap=True,
    )


def _titled(comparison: Comparison, number: int, cells: Sequence[Placed]) -> Comparison:
    """With what its cells share and those of other tables have not."""
    own = panel_title([cell for cell in cells if cell.table == number], cells)
    return replace(comparison, shared=f"{own}: {comparison.shared}") if own else comparison


def _is_of_one_study(runs: Sequence[Run]) -> bool:
    """What a study varies is unlike because it was asked to be."""
    studies = {None if run.member is None else run.member.study for run in runs}
    return len(studies) == 1 and None not in studies


def _write(target: Path, title: str, material: Material) -> None:
    """The page last: where it is, all that it is made of is there."""
    with console.status("drawing figures"):
        sections = sections_of(material)
    blocks = list(all_blocks(sections))
    rows = [dict(row) for comparison in material.comparisons for row in comparison.rows]
    write_text(target / "comparison.csv", as_csv(rows))
    write_text(target / "comparison.md", markdown(material.comparisons, material.found.unfinished))
    write_text(target / "tables.tex", booktabs([block.grid for block in blocks if isinstance(block, Table)]))
    for name, frame in frames_of(material.found).tables().items():
        write_text(target / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    _write_figures(target / "figures", {block.name: block.drawing for block in blocks if isinstance(block, Picture)})
    write_text(target / PAGE, render(title, list(answers(material.cells)), sections))


def _write_figures(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """And remove those of an earlier report that this one has not."""
    for name, drawing in drawings.items():
        write_atomically(folder / f"{name}.svg", drawing.svg)
        write_atomically(folder / f"{name}.png", drawing.png)
    for path in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        if path.stem not in drawings:
            path.unlink()


def _baselines(name: str | None, cells: Sequence[Placed]) -> set[str]:
    """The row of that label; else those, one a table, that it tells from the others there: of a study's backbones x
    methods, a method.
    """
    if name is None:
        return set()
    labels, series = [cell.cell.label for cell in cells], [cell.series for cell in cells]
    found = {cell.cell.label for cell in cells if name == (cell.cell.label if name in labels else cell.series)}
    if not found:
        raise ConfigError(f"--baseline: no row is {name!r}; there are: {'; '.join(dict.fromkeys([*labels, *series]))}")
    return found


def _show(comparison: Comparison) -> None:
    console.print(comparison.shared, markup=False, soft_wrap=True)
    for grid in comparison.grids:
        show_grid(grid)
    for note in comparison.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def markdown(comparisons: Sequence[Comparison], unfinished: Sequence[Unfinished]) -> str:
    """The tables, the notes and what was left out, to paste into a document."""
    parts = []
    for comparison in comparisons:
        parts += ["# Comparison", comparison.shared, *map(_table, comparison.grids)]
        if comparison.notes:
            parts += ["Notes:", "\n".join(f"- {note}" for note in comparison.notes)]
    left_out = [f"- {entry}" for entry in unfinished]
    if left_out:
        parts += ["Left out:", "\n".join(left_out)]
    return "\n\n".join(parts) + "\n"


def _table(grid: Grid) -> str:
    lines = [grid.columns, ["---"] * len(grid.columns), *grid.rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([f"{grid.title[:1].upper()}{grid.title[1:]}:", "", *(f"| {' | '.join(line)} |" for line in cells)])
