"""A real all-reduce: over all GPUs by NCCL, over one process a node by gloo where there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, Fleet, Reply, ask_all
from hlgp_dist.launch.doctor.site import Site
from hlgp_dist.ports import LOOPBACK, free_port

CHECK = "all-reduce"
JOIN_SECONDS = 60
SECONDS = 150.0
REPEATS = 5
BYTES = {"gloo": 2**22, "nccl": 2**26}
SLOW = {"gloo": 0.02, "nccl": 0.5}
"""GB/s between nodes below which a step of small prompts waits for the network."""
FORMULA = "2 (n-1)/n x bytes / seconds"
"""NCCL's bus bandwidth: comparable with what a link can do, whatever the number of ranks n."""
FIXES = {
    "gloo": "Start Ray with GLOO_SOCKET_IFNAME set to the interface by which the nodes reach each other "
    "(cluster/onprem.yaml does), and open all TCP ports between them.",
    "nccl": "Start Ray with NCCL_SOCKET_IFNAME set to that interface, open all TCP ports between the nodes, and see "
    "what NCCL_DEBUG=INFO says.",
}


@dataclass(frozen=True)
class Reduced:
    """is_right: every element of the sum; seconds: the fastest of REPEATS."""

    is_right: bool
    seconds: float
    bytes: int
    ranks: int
    backend: str

    @property
    def gigabytes_a_second(self) -> float:
        """See FORMULA."""
        return 2 * (self.ranks - 1) / self.ranks * self.bytes / self.seconds / 1e9


def check_collectives(site: Site) -> list[Finding]:
    """All ranks at the same time, and one answer."""
    fleet = site.fleet
    counts = ask_all(fleet, CHECK, count_gpus, seconds=SECONDS, fix="Mend what the check of GPUs says first.")
    if counts.missing:
        return counts.missing
    backend, places = placed(counts.of)
    first = fleet.nodes[0]
    (port,) = fleet.ask([Call(first, free_port)], SECONDS)
    if port.problem is not None:
        return [Finding(CHECK, "failed", port.problem, FIXES[backend], first)]
    replies = _reduce(fleet, backend, places, f"tcp://{fleet.addresses.get(first, LOOPBACK)}:{port.value}")
    return [judge(backend, len(fleet.nodes), list(zip([node for node, _ in places], replies, strict=True)))]


def _reduce(fleet: Fleet, backend: str, places: Sequence[tuple[str, int]], meeting: str) -> list[Reply]:
    calls = [
        Call(node, reduce, (backend, meeting, rank, len(places), device)) for rank, (node, device) in enumerate(places)
    ]
    return fleet.ask(calls, SECONDS)


def placed(gpus: Mapping[str, int]) -> tuple[str, list[tuple[str, int]]]:
    """The backend, and each rank's node and device. NCCL wants a GPU on every node and two in all."""
    if min(gpus.values()) > 0 and sum(gpus.values()) > 1:
        return "nccl", [(node, device) for node, count in gpus.items() for device in range(count)]
    nodes = list(gpus)
    return "gloo", [(node, 0) for node in (nodes if len(nodes) > 1 else nodes * 2)]


def count_gpus() -> int:
    """As torch sees them."""
    import torch

    return torch.cuda.device_count()


def reduce(backend: str, meeting: str, rank: int, size: int, device: int) -> Reduced:
    """One rank's part."""
    import torch
    import torch.distributed as dist

    place = f"cuda:{device}" if backend == "nccl" else "cpu"
    if backend == "nccl":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=JOIN_SECONDS)
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size, timeout=timeout)
    try:
        times, is_right = [], True
        for _ in range(1 + REPEATS):  # the first warms up
            given = torch.full((BYTES[backend] // 4,), float(rank + 1), device=place)
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(given)
            total = float(given[-1])  # waits for the device
            times.append(time.perf_counter() - began)
            is_right = is_right and total == size * (size + 1) / 2 and bool((given == total).all())
        return Reduced(is_right, min(times[1:]), BYTES[backend], size, backend)
    finally:
        dist.destroy_process_group()


def judge(backend: str, nodes: int, replies: Sequence[tuple[str, Reply]]) -> Finding:
    """replies: by rank, with the node."""
    over = f"{backend}, {len(replies)} ranks on {nodes} node{'s' if nodes > 1 else ''}"
    silent = {node: reply.problem for node, reply in replies if reply.problem is not None}
    if silent:
        told = "; ".join(f"{node}: {problem}" for node, problem in silent.items())
        return Finding(CHECK, "failed", f"{over}: {told}", FIXES[backend])
    slowest: Reduced = max((reply.value for _, reply in replies), key=lambda reduced: reduced.seconds)
    measured = asdict(slowest) | {"gigabytes_a_second": slowest.gigabytes_a_second, "formula": FORMULA}
    if not all(reply.value.is_right for _, reply in replies):
        wrong = ", ".join(node for node, reply in replies if not reply.value.is_right)
        fix = "Do not train on these nodes: test their memory, links and drivers (dcgmi diag)."
        return Finding(CHECK, "failed", f"{over}: the sum is wrong on {wrong}", fix, measured=measured)
    rate = f"{slowest.bytes / 2**20:g} MiB in {1e3 * slowest.seconds:.3g} ms, {slowest.gigabytes_a_second:.3g} GB/s"
    found = f"{over}: the sum is right; {rate} ({FORMULA})"
    if nodes > 1 and slowest.gigabytes_a_second < SLOW[backend]:
        fix = "See that the interface is the fast one (GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME) and idle."
        return Finding(CHECK, "warning", found, fix, measured=measured)
    return Finding(CHECK, "ok", found, measured=measured)
