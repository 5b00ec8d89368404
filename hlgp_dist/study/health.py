"""What `hlgp doctor` shows: a table a node, and one for what is about several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hlgp_dist.launch.doctor.finding import ALL, Finding, Report, summary
from hlgp_dist.terminal import console

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def show_report(report: Report) -> None:
    """Node by node, then all of them together; fixes stand below what they mend."""
    for node in (*report.nodes, ALL):
        findings = report.of(node)
        if findings:
            console.print(findings_table(node, findings))
    console.print(summary(report.findings), markup=False)


def findings_table(node: str, findings: list[Finding]) -> Table:
    """A row a finding."""
    table = Table("check", "", title=escape(node), title_justify="left", min_width=60)
    table.add_column("found", overflow="fold")
    for finding in findings:
        told = escape(finding.found) + (f"\n[bold]fix:[/] {escape(finding.fix)}" if finding.fix else "")
        table.add_row(escape(finding.check), f"[{STYLES[finding.state]}]{finding.state}[/]", told)
    return table


@contextmanager
def examining() -> Iterator[Callable[[str, int, int], None]]:
    """A line on standard error that says what is examined; on a terminal it is one that changes, and goes."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda name, done, total: screen.print(f"doctor: {name} ({done + 1} of {total})", highlight=False)
        return
    with screen.status("starting") as line:
        yield lambda name, done, total: line.update(f"{name} ({done + 1} of {total})")
