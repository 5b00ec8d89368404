"""Nodes that can be asked: each call is a function that runs there, and no answer is waited for longer than is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from hlgp_dist.launch.doctor.finding import Finding

Probe = Callable[..., Any]
"""Top-level, so that it can be named to another process; arguments and result are plain data."""


class Call(NamedTuple):
    """A probe on a node."""

    node: str
    probe: Probe
    args: tuple[Any, ...] = ()


class Reply(NamedTuple):
    """What a probe returned, or why there is nothing."""

    value: Any = None
    problem: str | None = None


class Fleet(Protocol):
    """One machine, or the nodes of a cluster.

    addresses: by which the others know each; services: Ray's own ports on each, by what listens there.
    """

    addresses: Mapping[str, str]
    services: Mapping[str, Mapping[str, int]]

    @property
    def nodes(self) -> tuple[str, ...]:
        """By name, the first leads where one has to."""

    def ask(self, calls: Sequence[Call], seconds: float) -> list[Reply]:
        """All of them at the same time, each in a process of its own; what has not ended by then is killed."""


class Answers(NamedTuple):
    """What the nodes that answered said, and a failed finding for each of the others."""

    of: dict[str, Any]
    missing: list[Finding]


def ask_all(fleet: Fleet, check: str, probe: Probe, *args: Any, seconds: float, fix: str) -> Answers:
    """The same call on every node."""
    return ask_each(fleet, check, {node: Call(node, probe, args) for node in fleet.nodes}, seconds=seconds, fix=fix)


def ask_each(fleet: Fleet, check: str, calls: Mapping[str, Call], *, seconds: float, fix: str) -> Answers:
    """One call a node."""
    replies = dict(zip(calls, fleet.ask(list(calls.values()), seconds), strict=True))
    missing = [Finding(check, "failed", reply.problem, fix, node) for node, reply in replies.items() if reply.problem]
    return Answers({node: reply.value for node, reply in replies.items() if reply.problem is None}, missing)


def late(seconds: float) -> Reply:
    """In place of an answer that did not come."""
    return Reply(problem=f"no answer in {seconds:g} s")


def told(error: BaseException) -> Reply:
    """In place of an answer that is an error: its first line."""
    lines = str(error).strip().splitlines()
    return Reply(problem=f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
