"""One Python, one set of packages, one hlgp_dist on all nodes."""

from __future__ import annotations

from collections.abc import Mapping

import hlgp_dist
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.site import Site

CHECK = "versions"
SECONDS = 120.0
INSTALL = "Install hlgp_dist with its constraints.txt into the Python that Ray was started with"
CODE = "hlgp_dist's code"


def check_versions(site: Site) -> list[Finding]:
    """Of each node, then between them."""
    answers = ask_all(site.fleet, CHECK, versions, seconds=SECONDS, fix=f"{INSTALL} on this node.")
    return [*answers.missing, *judge(answers.of)]


def versions() -> dict[str, str | None]:
    """By package; None where one is missing. CODE: hash of the source that runs."""
    from hlgp_dist.train.environment import code_hash, environment

    known = environment()
    packages = known["packages"]
    assert isinstance(packages, dict)
    ours = {"hlgp_dist": hlgp_dist.__version__, CODE: code_hash()}
    return {"python": str(known["python"]), **packages, **ours}


def judge(by_node: Mapping[str, Mapping[str, str | None]]) -> list[Finding]:
    """A package that is missing, and each that is not the same everywhere, by name."""
    findings = [_installed(node, found) for node, found in by_node.items()]
    if len(by_node) < 2:
        return findings
    packages = list(dict.fromkeys(name for found in by_node.values() for name in found))
    unlike = [name for name in packages if len({found.get(name) for found in by_node.values()}) > 1]
    if not unlike:
        return [*findings, Finding(CHECK, "ok", f"the same on {len(by_node)} nodes")]
    told = "; ".join(f"{name} is {_by_node(name, by_node)}" for name in unlike)
    fix = "Install the same constraints.txt and the same hlgp_dist on every node (`ray up` again, or one image)."
    return [*findings, Finding(CHECK, "failed", f"not the same on all nodes: {told}", fix)]


def _installed(node: str, found: Mapping[str, str | None]) -> Finding:
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return Finding(CHECK, "failed", f"not installed: {', '.join(missing)}", f"{INSTALL}.", node, found)
    shown = ", ".join(f"{name} {found[name]}" for name in ("python", "hlgp_dist", "torch", "ray", "deepspeed"))
    return Finding(CHECK, "ok", shown, node=node, measured=found)


def _by_node(name: str, by_node: Mapping[str, Mapping[str, str | None]]) -> str:
    return ", ".join(f"{found.get(name) or 'missing'} on {node}" for node, found in by_node.items())
