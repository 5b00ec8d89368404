"""run.dir on every node: written, seen by the others, locked and renamed as the code relies on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from hlgp_dist.config.places import is_remote
from hlgp_dist.launch.doctor.bucket import check_bucket
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Answers, Fleet, ask_all
from hlgp_dist.launch.doctor.locks import check_locks
from hlgp_dist.launch.doctor.renames import check_renames
from hlgp_dist.launch.doctor.scratch import FIX, SECONDS, file_names, judge_written, scratch
from hlgp_dist.launch.doctor.site import Site

CHECK = "shared storage"
PATIENCE_SECONDS = 5.0
"""A folder's attributes may be cached for seconds; a name that was never asked for is not."""
LATE_SECONDS = 1.0
UNSEEN = "unseen"
OTHER = "other content"
SHARE = "Mount one and the same folder at run.dir's path on every node (docs/cluster.md), or give a run.dir that is."

Seen = Mapping[str, Mapping[str, float | str]]
"""By reader, by writer: seconds until the file was there as written, or UNSEEN or OTHER."""


def check_storage(site: Site) -> list[Finding]:
    """Nothing is left in run.dir."""
    if is_remote(site.needs.run_dir):
        return check_bucket(site)
    with scratch(site.fleet, site.needs.run_dir) as (folder, wrote):
        findings = [*wrote.missing, *judge_written(wrote.of)]
        if not wrote.of:
            return findings
        together = list(wrote.of)
        if len(site.fleet.nodes) > 1:
            seen = _read(site.fleet, folder, wrote)
            findings += [*seen.missing, *judge_seen(seen.of)]
            together = who_see(together[0], seen.of)
        return [*findings, *check_locks(site.fleet, together, folder), *check_renames(site.fleet, together, folder)]


def _read(fleet: Fleet, folder: str, wrote: Answers) -> Answers:
    files = {node: name for node, name in file_names(fleet).items() if node in wrote.of}
    return ask_all(fleet, CHECK, read, folder, files, PATIENCE_SECONDS, seconds=SECONDS, fix=FIX)


def read(folder: str, files: Mapping[str, str], patience_seconds: float) -> dict[str, float | str]:
    """By writer; see Seen. Each file holds its writer's name."""
    began = time.monotonic()
    seen: dict[str, float | str] = {}
    while len(seen) < len(files) and time.monotonic() - began < patience_seconds:
        for writer, name in files.items():
            file = Path(folder) / name
            if writer not in seen and file.exists():
                seen[writer] = time.monotonic() - began if file.read_text() == writer else OTHER
        time.sleep(0.02)
    return {writer: seen.get(writer, UNSEEN) for writer in files}


def who_see(first: str, seen: Seen) -> list[str]:
    """The first, and all that read its file; what does not cannot share a lock with it either."""
    return [first, *(node for node in seen if node != first and not isinstance(seen[node].get(first, UNSEEN), str))]


def judge_seen(seen: Seen) -> list[Finding]:
    """One finding a reader."""
    return [_judge_reader(reader, by_writer) for reader, by_writer in seen.items()]


def _judge_reader(reader: str, by_writer: Mapping[str, float | str]) -> Finding:
    unseen = [writer for writer, seconds in by_writer.items() if isinstance(seconds, str)]
    if unseen:
        told = ", ".join(f"{by_writer[writer]} of {writer}" for writer in unseen)
        return Finding(CHECK, "failed", f"after {PATIENCE_SECONDS:g} s: {told}", SHARE, reader, by_writer)
    slowest = max(float(seconds) for seconds in by_writer.values())
    found = f"files of {len(by_writer)} nodes read as written, within {1e3 * slowest:.3g} ms"
    if slowest > LATE_SECONDS:
        fix = "Mount it with a shorter attribute cache (NFS: actimeo=1)."
        return Finding(CHECK, "warning", found, fix, reader, by_writer)
    return Finding(CHECK, "ok", found, node=reader, measured=by_writer)
