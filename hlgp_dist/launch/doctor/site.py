"""What every check is given."""

from __future__ import annotations

from dataclasses import dataclass

from hlgp_dist.launch.doctor.fleet import Fleet
from hlgp_dist.launch.doctor.needs import Needs


@dataclass(frozen=True)
class Site:
    """The nodes and what is wanted of them. cluster: host:port of the Ray that was joined, None for this machine."""

    fleet: Fleet
    needs: Needs
    cluster: str | None = None
