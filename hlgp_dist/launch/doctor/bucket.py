"""run.dir on object storage: each node writes, lists, reads what the others wrote, and is refused a second lock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from uuid import uuid4

from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import Call, ask_all, ask_each
from hlgp_dist.launch.doctor.scratch import SECONDS, WRITABLE, file_names
from hlgp_dist.launch.doctor.site import Site

CHECK = "object storage"
FIX = "Give every node credentials that may list, read, write and remove under run.dir's URL (docs/storage.md)."
SLOW_SECONDS = 2.0
NEAR = "Take a bucket nearer to the nodes: a checkpoint is waited for."
LOCKS = "Let one command at a time work on a run: this store has no conditional writes, which locks here are made of."


def check_bucket(site: Site) -> list[Finding]:
    """Nothing is left there."""
    fleet, url = site.fleet, f"{site.needs.run_dir.rstrip('/')}/hlgp-doctor-{uuid4().hex[:8]}"
    names = file_names(fleet)
    calls = {node: Call(node, write, (url, name, node)) for node, name in names.items()}
    try:
        wrote = ask_each(fleet, WRITABLE, calls, seconds=SECONDS, fix=FIX)
        expected = {name: node for node, name in names.items() if node in wrote.of}
        seen = ask_all(fleet, CHECK, unlike, url, expected, seconds=SECONDS, fix=FIX)
    finally:
        fleet.ask([Call(fleet.nodes[0], clear, (url,))], SECONDS)
    findings = [finding for node, told in wrote.of.items() for finding in judge_written(node, told)]
    return wrote.missing + findings + seen.missing + [judge_seen(node, wrong) for node, wrong in seen.of.items()]


def write(url: str, name: str, content: str) -> tuple[float, bool]:
    """Seconds that it took, and whether a second writer was refused."""
    from hlgp_dist.data.bucket import Bucket

    bucket = Bucket(url)
    began = time.perf_counter()
    bucket.replace(name, content.encode())
    return time.perf_counter() - began, not bucket.create(name, content.encode())


def unlike(url: str, expected: Mapping[str, str]) -> list[str]:
    """The names that are not listed, or not read as they were written."""
    from hlgp_dist.data.bucket import Bucket

    bucket = Bucket(url)
    listed = bucket.listed()
    return [name for name, text in expected.items() if name not in listed or bucket.read(name) != text.encode()]


def clear(url: str) -> None:
    """Remove everything."""
    from hlgp_dist.data.bucket import Bucket

    bucket = Bucket(url)
    for name in bucket.listed():
        bucket.remove(name)


def judge_written(node: str, told: tuple[float, bool]) -> list[Finding]:
    """Of a node that could write."""
    seconds, is_refused = told
    found, measured = f"an object written in {1e3 * seconds:.3g} ms", {"seconds": seconds}
    if seconds > SLOW_SECONDS:
        return [Finding(WRITABLE, "warning", found, NEAR, node, measured)]
    if not is_refused:
        return [Finding(WRITABLE, "warning", f"{found}; a second writer was not refused", LOCKS, node, measured)]
    return [Finding(WRITABLE, "ok", found, node=node, measured=measured)]


def judge_seen(node: str, wrong: list[str]) -> Finding:
    """Of a node that looked."""
    if wrong:
        return Finding(CHECK, "failed", f"not read as written: {', '.join(wrong)}", FIX, node)
    return Finding(CHECK, "ok", "what each node wrote is listed and read as written", node=node)
