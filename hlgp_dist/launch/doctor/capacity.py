"""Room on each node: shared memory, disks, open files."""

from __future__ import annotations

import resource
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hlgp_dist.config.places import is_remote
from hlgp_dist.launch.doctor.finding import Finding
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.site import Site

CHECK = "room"
SECONDS = 60.0
GB = 10**9
SHM = "/dev/shm"
TEMPORARY = "/tmp"
SHM_WARNING, SHM_FAILED = 10**9, 2**26
"""Bytes. Docker gives 64 MiB unless asked: less than NCCL and the smallest object store want."""
FREE_WARNING, FREE_FAILED = 10 * GB, GB
"""Bytes of a disk."""
USED_FAILED = 0.95
"""Of the disk of Ray's session folder; above it Ray refuses to spill objects, and warns without end."""
FILES_WARNING, FILES_FAILED = 4096, 1024
"""What a process may raise its limit to: Ray and the open classes of a data set share it."""


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk below a folder; use: what for."""

    use: str
    folder: str
    free: int
    total: int


@dataclass(frozen=True)
class Room:
    """shm: total bytes, None where there is no /dev/shm; files: soft and hard limit, -1 for none."""

    shm: int | None
    disks: tuple[Disk, ...]
    files: tuple[int, int]


def check_capacity(site: Site) -> list[Finding]:
    """Of each node."""
    args = (site.needs.cache_dir, site.needs.run_dir)
    answers = ask_all(site.fleet, CHECK, room, *args, seconds=SECONDS, fix="See what holds that node's disks (`df`).")
    return answers.missing + [finding for node, found in answers.of.items() for finding in judge(node, found)]


def room(cache_dir: str | None, run_dir: str) -> Room:
    """Of this node."""
    from hlgp_dist.data.cache import default_cache_dir

    results = {"TMPDIR": tempfile.gettempdir()} if is_remote(run_dir) else {"run.dir": run_dir}
    folders = {"data.cache_dir": str(cache_dir or default_cache_dir()), **results, "Ray's session": TEMPORARY}
    return Room(
        shm=shutil.disk_usage(SHM).total if Path(SHM).is_dir() else None,
        disks=tuple(_disk(use, folder) for use, folder in folders.items()),
        files=resource.getrlimit(resource.RLIMIT_NOFILE),
    )


def _disk(use: str, folder: str) -> Disk:
    """By the nearest folder that is there; what an unprivileged process may use."""
    path = Path(folder).absolute()
    there = next(place for place in [path, *path.parents] if place.is_dir())
    usage = shutil.disk_usage(there)
    return Disk(use, folder, usage.free, usage.total)


def judge(node: str, found: Room) -> list[Finding]:
    """One finding a resource."""
    return [_judge_shm(node, found.shm), *(_judge_disk(node, disk) for disk in found.disks), _judge_files(node, found)]


def _judge_shm(node: str, shm: int | None) -> Finding:
    if shm is None:
        return Finding(SHM, "skipped", "this system has none", node=node)
    fix = f"Give the container more shared memory (docker run --shm-size=8g), or remount {SHM} with size=50%."
    return _judged(SHM, node, f"{shm / GB:.3g} GB", shm, SHM_WARNING, SHM_FAILED, fix)


def _judge_disk(node: str, disk: Disk) -> Finding:
    found = f"{disk.folder}: {disk.free / GB:.3g} of {disk.total / GB:.3g} GB free"
    moved = "ray start --temp-dir" if disk.folder == TEMPORARY else f"another {disk.use}"
    fix = f"Free some of that disk, or take another ({moved})."
    failed = FREE_FAILED
    if disk.folder == TEMPORARY:
        failed = max(failed, int((1 - USED_FAILED) * disk.total))
    return _judged(f"disk of {disk.use}", node, found, disk.free, FREE_WARNING, failed, fix)


def _judge_files(node: str, found: Room) -> Finding:
    soft, hard = found.files
    most = 2**31 if hard == resource.RLIM_INFINITY else hard
    fix = "Raise the limit (limits.conf, docker run --ulimit nofile=65536), and start Ray after it."
    return _judged("open files", node, f"ulimit -n {soft}, at most {hard}", most, FILES_WARNING, FILES_FAILED, fix)


def _judged(check: str, node: str, found: str, amount: int, warning: int, failed: int, fix: str) -> Finding:
    """failed: up to this; warning: below this."""
    measured = {"amount": amount}
    if amount <= failed:
        return Finding(check, "failed", found, fix, node, measured)
    if amount < warning:
        return Finding(check, "warning", found, fix, node, measured)
    return Finding(check, "ok", found, node=node, measured=measured)
