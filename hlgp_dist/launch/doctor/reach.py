"""Ports: Ray's own and any other between all nodes; on this machine alone, those that `ray start` would take."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, Fleet, ask_all
from hlgp_dist.launch.doctor.site import Site
from hlgp_dist.ports import free_port

CHECK = "ports"
SECONDS = 60.0
PATIENCE_SECONDS = 15.0
"""Until the listener on the other node has started."""
TRY_SECONDS = 3.0
DEFAULT = {6379: "--port", 8265: "--dashboard-port", 10001: "--ray-client-server-port"}
"""Of `ray start --head`, and the option that says otherwise."""
OPEN = "Open all TCP ports above 1023 between the nodes: Ray's workers, DeepSpeed's and NCCL's ranks take any of them."

Targets = dict[str, tuple[str, int]]
"""Address and port by what is there."""


def check_ports(site: Site) -> list[Finding]:
    """Every node to every other."""
    fleet = site.fleet
    if site.cluster is None:
        answers = ask_all(fleet, CHECK, taken, seconds=SECONDS, fix=OPEN)
        return answers.missing + [judge_taken(node, ports) for node, ports in answers.of.items()]
    if len(fleet.nodes) < 2:
        return [Finding(CHECK, "skipped", "one node, nothing to reach")]
    ports = ask_all(fleet, CHECK, free_port, seconds=SECONDS, fix=OPEN)
    if ports.missing:
        return ports.missing
    listens = [Call(node, listen, (port, len(fleet.nodes) - 1)) for node, port in ports.of.items()]
    connects = {node: Call(node, connect, (targets(fleet, node, ports.of, site.cluster),)) for node in fleet.nodes}
    replies = fleet.ask([*listens, *connects.values()], SECONDS)[len(listens) :]
    return [judge(node, reply.value, reply.problem) for node, reply in zip(connects, replies, strict=True)]


def targets(fleet: Fleet, node: str, ports: Mapping[str, int], cluster: str) -> Targets:
    """What a node has to reach: the control store, and Ray's ports and a fresh one on each other node."""
    host, _, port = cluster.rpartition(":")
    found: Targets = {"Ray's control store": (host, int(port))}
    for other in fleet.nodes:
        if other != node:
            services = {**fleet.services.get(other, {}), "any port": ports[other]}
            found |= {f"{service} of {other}": (fleet.addresses[other], at) for service, at in services.items()}
    return found


def listen(port: int, visitors: int) -> None:
    """Accept so many, or leave."""
    with socket.create_server(("", port)) as server:
        server.settimeout(PATIENCE_SECONDS)
        for _ in range(visitors):
            server.accept()[0].close()


def connect(wanted: Targets) -> dict[str, str]:
    """What went wrong, by target; empty where all could be reached."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    problems = {name: _reach(target, deadline) for name, target in wanted.items()}
    return {name: problem for name, problem in problems.items() if problem is not None}


def _reach(target: tuple[str, int], deadline: float) -> str | None:
    """Tried again while nobody listens yet."""
    while True:
        try:
            socket.create_connection(target, timeout=TRY_SECONDS).close()
            return None
        except OSError as error:
            if time.monotonic() > deadline:
                return f"{target[0]}:{target[1]} {error.strerror or error}"
            time.sleep(0.1)


def judge(node: str, problems: Mapping[str, str] | None, unanswered: str | None) -> Finding:
    """problems: by target."""
    if problems is None:
        return Finding(CHECK, "failed", f"{unanswered}", OPEN, node)
    if problems:
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return Finding(CHECK, "failed", f"cannot reach {told}", OPEN, node, dict(problems))
    return Finding(CHECK, "ok", "reaches the others and Ray's control store", node=node)


def taken() -> list[int]:
    """Of the ports that `ray start --head` takes unless told otherwise."""
    return [port for port in DEFAULT if _is_taken(port)]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def judge_taken(node: str, ports: list[int]) -> Finding:
    """Jobs that start their own Ray take free ones."""
    if not ports:
        return Finding(CHECK, "ok", f"{', '.join(map(str, DEFAULT))} are free", node=node)
    options = " ".join(f"{DEFAULT[port]}=PORT" for port in ports)
    fix = f"A Ray runs here already: join it (launch.kind=ray launch.address=auto), or `ray start --head {options}`."
    return Finding(CHECK, "warning", f"taken: {', '.join(map(str, ports))}", fix, node, {"taken": ports})
