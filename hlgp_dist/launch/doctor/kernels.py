"""Whether torch.compile can make kernels where a configuration wants them: that takes a compiler on every node."""

from __future__ import annotations

import platform
from typing import NamedTuple

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.site import Site

CHECK = "kernels"
SECONDS = 300.0
LATE = "See what keeps that node busy: a small kernel takes seconds."


class Kernels(NamedTuple):
    """device: what one was made for; problem: why none could be."""

    device: str
    problem: str | None


def check_kernels(site: Site) -> list[Finding]:
    """Of each node."""
    if not site.needs.compiles:
        return [Finding(CHECK, "skipped", "engine.compile is false")]
    answers = ask_all(site.fleet, CHECK, kernels, seconds=SECONDS, fix=LATE)
    return [*answers.missing, *(judge(node, found) for node, found in answers.of.items())]


def kernels() -> Kernels:
    """Of this node."""
    import torch

    from hlgp_dist.models.compiled import kernel_problem

    if torch.cuda.is_available():
        return Kernels(torch.cuda.get_device_name(), kernel_problem("cuda"))
    return Kernels(platform.machine(), kernel_problem("cpu"))


def judge(node: str, found: Kernels) -> Finding:
    """One finding."""
    if found.problem is None:
        return Finding(CHECK, "ok", f"torch.compile makes them for {found.device}", node=node)
    from hlgp_dist.models.compiled import COMPILER

    return Finding(CHECK, "failed", f"torch.compile makes none for {found.device}: {found.problem}", COMPILER, node)
