"""What every verb shows itself on: the console, a grid of text, a bar that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

console = Console()
UNBOUNDED = 10_000
"""Columns that no table has."""


@dataclass(frozen=True)
class Grid:
    """A table of text, for a terminal or for Markdown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def show_grid(grid: Grid) -> None:
    """The first column to the left, a header if it has names. No cell is cut or wrapped, whatever the terminal."""
    table = Table(title=grid.title, title_justify="left", show_header=any(grid.columns))
    for index, name in enumerate(grid.columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(escape, row))
    table.width = Measurement.get(console, console.options.update(max_width=UNBOUNDED), table).maximum
    console.print(table, crop=False)


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere, moved by calls of (done, total)."""
    bar = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), transient=True)
    if not bar.console.is_terminal:
        yield lambda done, total: None
        return
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
