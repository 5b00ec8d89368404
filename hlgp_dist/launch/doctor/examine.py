"""All checks in their order, on this machine or on every node of the cluster that is joined."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.launch.doctor import joining
from hlgp_dist.launch.doctor.capacity import check_capacity
from hlgp_dist.launch.doctor.clocks import check_clocks
from hlgp_dist.launch.doctor.collectives import check_collectives
from hlgp_dist.launch.doctor.finding import Finding, Report
from hlgp_dist.launch.doctor.fleet import Fleet
from hlgp_dist.launch.doctor.gpus import check_gpus
from hlgp_dist.launch.doctor.here import Here
from hlgp_dist.launch.doctor.inputs import check_data, check_weights
from hlgp_dist.launch.doctor.kernels import check_kernels
from hlgp_dist.launch.doctor.needs import Needs
from hlgp_dist.launch.doctor.reach import check_ports
from hlgp_dist.launch.doctor.site import Site
from hlgp_dist.launch.doctor.storage import check_storage
from hlgp_dist.launch.doctor.token import check_token
from hlgp_dist.launch.doctor.versions import check_versions

CHECKS: dict[str, Callable[[Site], list[Finding]]] = {
    "versions": check_versions,
    "GPUs": check_gpus,
    "kernels": check_kernels,
    "room": check_capacity,
    "ports": check_ports,
    "clocks": check_clocks,
    "token": check_token,
    "storage": check_storage,
    "data": check_data,
    "weights": check_weights,
    "all-reduce": check_collectives,
}
REPORT = "Report it with the whole message: a check must not end like this."

Progress = Callable[[str, int, int], None]
"""Called with what is being examined, how many checks are done, and of how many."""


def examine(needs: Needs, progress: Progress) -> Report:
    """Everything; a check that breaks down is a finding as well."""
    try:
        with _left_by_sigterm(), _site(needs, progress) as site:
            findings = list(_findings(site, progress))
            return Report(site.fleet.nodes, tuple(findings))
    except EnvironmentFailure as failure:
        fix = joining.START if needs.address is not None else joining.JOIN
        return Report((), (Finding(joining.CHECK, "failed", str(failure), fix),))
    except _NotJoined as not_joined:
        return Report((), (not_joined.finding,))


@contextmanager
def _left_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM is an exit like any other: what was made is taken away."""
    former = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class _NotJoined(Exception):
    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def _findings(site: Site, progress: Progress) -> Iterator[Finding]:
    for number, (name, check) in enumerate(CHECKS.items()):
        progress(name, number, len(CHECKS))
        try:
            yield from check(site)
        except Exception as error:
            yield Finding(name, "failed", f"the check broke down: {type(error).__name__}: {error}", REPORT)


@contextmanager
def _site(needs: Needs, progress: Progress) -> Iterator[Site]:
    """This machine, or where the job runs on Ray the nodes it would have: a cluster's, or those of a Ray started here.

    Raises:
        EnvironmentFailure, _NotJoined: there is no such Ray.
    """
    if not needs.on_ray:
        yield Site(Here(), needs)
        return
    progress("Ray", 0, len(CHECKS))
    if needs.address is None:
        with _own_ray(needs) as fleet:
            yield Site(fleet, needs)
        return
    refused = joining.judge(needs.address, *joining.status(needs.address))
    if refused is not None:
        raise _NotJoined(refused)
    from hlgp_dist.launch.doctor.on_ray import OnRay, joined  # Ray takes seconds

    with joined(needs.address) as cluster:
        yield Site(OnRay(), needs, cluster)


@contextmanager
def _own_ray(needs: Needs) -> Iterator[Fleet]:
    """As a job without an address starts one, and ends it."""
    from hlgp_dist.launch.cluster import ray_cluster
    from hlgp_dist.launch.doctor.on_ray import OnRay

    with ray_cluster(needs.launch):
        yield OnRay()
