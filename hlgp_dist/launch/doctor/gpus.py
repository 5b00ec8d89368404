"""GPUs as the driver and as torch see them, and whether torch can compute on each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hlgp_dist.cores import usable_cores
from hlgp_dist.errors import counted
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.site import Site

CHECK = "GPUs"
SECONDS = 180.0
QUERY = "--query-gpu=name,memory.total,driver_version"
SMI_SECONDS = 30.0


@dataclass(frozen=True)
class Gpus:
    """seen: by the driver, `name, memory`; driver, driver_cuda: None without one; usable: computed right by torch.

    problem: what torch said instead of computing; visible: CUDA_VISIBLE_DEVICES there.
    """

    seen: tuple[str, ...]
    driver: str | None
    driver_cuda: str | None
    built_for: str | None
    usable: tuple[str, ...]
    problem: str | None
    visible: str | None
    cores: int


def check_gpus(site: Site) -> list[Finding]:
    """Of each node, then between them."""
    fix = "Run `nvidia-smi` there: if it does not answer either, reload the driver or restart the node."
    answers = ask_all(site.fleet, CHECK, gpus, seconds=SECONDS, fix=fix)
    wanted = site.needs.launch.gpus_per_worker not in (None, 0.0, "auto")
    found = [judge(node, facts, wanted=wanted) for node, facts in answers.of.items()]
    return [*answers.missing, *found, *judge_alike(answers.of)]


def gpus() -> Gpus:
    """Of this node."""
    import torch

    rows = [row.rsplit(", ", 1) for row in _smi(QUERY, "--format=csv,noheader")]
    usable, problem = _computed()
    return Gpus(
        seen=tuple(row[0] for row in rows),
        driver=rows[0][1] if rows else None,
        driver_cuda=driver_cuda("\n".join(_smi())),
        built_for=torch.version.cuda,
        usable=usable,
        problem=problem,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cores=usable_cores(),
    )


def _smi(*arguments: str) -> list[str]:
    """Lines of nvidia-smi, none where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_SECONDS)
    return done.stdout.splitlines() if done.returncode == 0 else []


def driver_cuda(text: str) -> str | None:
    """The newest CUDA that the driver serves, out of nvidia-smi's heading `| ... CUDA Version: 12.8 |`."""
    _, found, rest = text.partition("CUDA Version:")
    return rest.split()[0] if found else None


def _computed() -> tuple[tuple[str, ...], str | None]:
    """Names of the devices on which a small product is right, and what went wrong."""
    import torch

    usable = []
    try:
        for device in range(torch.cuda.device_count()):
            ones = torch.ones(64, 64, device=f"cuda:{device}")
            assert (ones @ ones).eq(64).all(), f"cuda:{device}: a product of ones is wrong"
            usable.append(torch.cuda.get_device_name(device))
        torch.cuda.init()
    except Exception as error:
        return tuple(usable), str(error).strip().splitlines()[0]
    return tuple(usable), None


def judge(node: str, facts: Gpus, *, wanted: bool) -> Finding:
    """wanted: the configuration asks for a GPU a worker."""
    measured = asdict(facts)
    if facts.visible == "" or not (facts.seen or facts.usable):
        found = f"{'hidden' if facts.seen else 'none'}: it computes on {counted(facts.cores, 'core')}"
        if not wanted:
            return Finding(CHECK, "ok", found, node=node, measured=measured)
        fix = "Give launch.gpus_per_worker=null, or run where `nvidia-smi` shows a GPU."
        return Finding(CHECK, "failed", f"{found}, launch.gpus_per_worker asks for one", fix, node, measured)
    is_short = facts.visible is None and len(facts.usable) < len(facts.seen)
    if facts.problem is not None or is_short:
        found = f"torch computes on {len(facts.usable)} of {counted(len(facts.seen), 'GPU')}: {facts.problem}"
        return Finding(CHECK, "failed", found, cuda_fix(facts), node, measured)
    shown = f"{len(facts.usable)} x {'; '.join(dict.fromkeys(facts.seen or facts.usable))}"
    built = f"driver {facts.driver} serves CUDA {facts.driver_cuda}, torch is built for {facts.built_for}"
    return Finding(CHECK, "ok", f"{shown}; {built}", node=node, measured=measured)


def cuda_fix(facts: Gpus) -> str:
    """By which of the two, driver or torch, is behind."""
    if facts.built_for is None:
        return "Install torch's CUDA build (`pip install torch torchvision` brings it)."
    if facts.driver_cuda is not None and _major(facts.driver_cuda) < _major(facts.built_for):
        return f"Install a driver for CUDA {facts.built_for}, or a torch that is built for {facts.driver_cuda}."
    return (
        "See whether another process holds the GPU (`nvidia-smi`), and whether the container was given it (--gpus all)."
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def judge_alike(by_node: Mapping[str, Gpus]) -> list[Finding]:
    """Ranks wait for the slowest."""
    kinds = {node: tuple(sorted(set(facts.usable))) for node, facts in by_node.items()}
    if len(set(kinds.values())) < 2:
        return []
    told = "; ".join(f"{', '.join(names) or 'none'} on {node}" for node, names in kinds.items())
    fix = "Keep a run to nodes of one kind: its ranks wait for the slowest, and GPUs and CPUs do not mix."
    return [Finding(CHECK, "warning", f"not the same on all nodes: {told}", fix)]
