"""What a run reads: the same shards and the same weights on every node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Probe, ask_all
from hlgp_dist.launch.doctor.site import Site

SECONDS = 600.0
"""A large file of weights over a slow network."""
DATA, WEIGHTS = "data.path", "backbone.weights"
BRING = {
    DATA: "Make the shard folder readable under this path on every node (a mount, or a URL), or correct data.path.",
    WEIGHTS: "Bring the same file to this path on every node, or correct backbone.weights.",
}


def check_data(site: Site) -> list[Finding]:
    """By the manifest's digest; every shard has to be there with its length."""
    return _check(site, DATA, site.needs.data, manifest_digest)


def check_weights(site: Site) -> list[Finding]:
    """By the file's hash."""
    return _check(site, WEIGHTS, site.needs.weights, weights_hash)


def _check(site: Site, check: str, path: str | None, probe: Probe) -> list[Finding]:
    if path is None:
        return [
            Finding(
                check,
                "skipped",
                "no folder: drawn, or not named" if check == DATA else "no file: hub or none, or not named",
            )
        ]
    answers = ask_all(site.fleet, check, probe, path, seconds=SECONDS, fix=BRING[check])
    return [*answers.missing, *judge(check, answers.of)]


def manifest_digest(path: str) -> str:
    """Sha256 of this node's."""
    from hlgp_dist.data.manifest_reading import read_manifest

    return read_manifest(path).digest


def weights_hash(path: str) -> str:
    """Sha256 of this node's."""
    from hlgp_dist.files import file_sha256
    from hlgp_dist.models.weights import check_weights_file

    check_weights_file(Path(path))
    return file_sha256(Path(path))


def judge(check: str, by_node: Mapping[str, str]) -> list[Finding]:
    """One finding a node, and one where they are not the same."""
    found = [
        Finding(check, "ok", f"readable, sha256 {digest[:12]}", node=node, measured={"sha256": digest})
        for node, digest in by_node.items()
    ]
    if len(set(by_node.values())) < 2:
        return found
    told = ", ".join(f"{digest[:12]} on {node}" for node, digest in by_node.items())
    return [*found, Finding(check, "failed", f"not the same on all nodes: sha256 {told}", BRING[check])]
