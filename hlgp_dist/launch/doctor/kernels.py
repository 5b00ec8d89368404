"""Whether torch.compile can make kernels where a configuration wants them: that takes a compiler on every node."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

from hlgp_dist.errors import describe
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.site import Site

CHECK = "kernels"
SECONDS = 300.0
LATE = "See what keeps that node busy: a small kernel takes seconds."


class Kernels(NamedTuple):
    """device: what torch.compile was asked for; problem: why it made nothing."""

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
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # a pool of compilers would outlive this process
    import torch

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.cuda.get_device_name() if kind == "cuda" else platform.machine()
    try:
        from hlgp_dist.models.compiled import kernel_problem

        return Kernels(device, kernel_problem(kind))
    except OSError as error:  # of its cache's folder, which torch makes when it is imported
        return Kernels(device, describe(error))


def judge(node: str, found: Kernels) -> Finding:
    """One finding."""
    if found.problem is None:
        return Finding(CHECK, "ok", f"torch.compile makes them for {found.device}", node=node)
    from hlgp_dist.models.compiled import COMPILER

    return Finding(CHECK, "failed", f"torch.compile makes none for {found.device}: {found.problem}", COMPILER, node)
