"""What a check came to: a state, what was found, and the fix where something is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hlgp_dist.errors import counted

State = Literal["ok", "warning", "failed", "skipped"]
ALL = "all nodes"
"""The node of a finding about several of them."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. A fix is one sentence, there exactly where the state is warning or failed.

    node: a node's name, or ALL. measured: numbers behind `found`, for --json.
    """

    check: str
    state: State
    found: str
    fix: str = ""
    node: str = ALL
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert bool(self.fix) == (self.state in ("warning", "failed")), f"{self.check}: a fix where one is needed"


@dataclass(frozen=True)
class Report:
    """Everything found, in the order of the checks."""

    nodes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.state == "failed"]

    @property
    def names_of_failed(self) -> list[str]:
        """`shared storage on box-2`."""
        return [
            finding.check if finding.node == ALL else f"{finding.check} on {finding.node}" for finding in self.failed
        ]

    def of(self, node: str) -> list[Finding]:
        """A node's findings, or those about several."""
        return [finding for finding in self.findings if finding.node == node]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        states = Counter(finding.state for finding in self.findings)
        return {
            "ready": not self.failed,
            "nodes": list(self.nodes),
            "states": dict(states),
            "findings": [asdict(finding) for finding in self.findings],
        }


def summary(findings: Sequence[Finding]) -> str:
    """`12 checks are ok, 1 warning, 2 failed, 1 skipped`."""
    states = Counter(finding.state for finding in findings)
    rest = [counted(states["warning"], "warning")] if states["warning"] else []
    rest += [f"{states[state]} {state}" for state in ("failed", "skipped") if states[state]]
    return ", ".join([f"{states['ok']} of {counted(len(findings), 'check')} ok", *rest])
