"""Memory of this process and of its host, as Linux tells it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
NAMES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Of a limit and of what counts against it, in a cgroup's folder: version 2, then 1."""
EVENTS = ("memory.events", "memory.oom_control")
"""Of what the kernel did to a cgroup, in the same order."""
PEAK = "5"
"""Linux: what makes a process's highest resident size its present one."""


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process; `RssAnon` is its own, without the pages of mapped files, which the host can take back, and
    `VmHWM` the most since `forget_peak`.
    """
    return _kilobytes(PROC / "self" / "status", field)


def give_back() -> None:
    """What malloc has free is the host's again, as far as the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def forget_peak() -> None:
    """`VmHWM` counts from here."""
    (PROC / "self" / "clear_refs").write_text(PEAK)


def total() -> int:
    """Bytes of the host, or of less where a cgroup limits what this process and those beside it may have."""
    return min([_kilobytes(PROC / "meminfo", "MemTotal"), *(limit for limit, _ in _limits())])


def available() -> int:
    """Bytes of it that are free, or would be once pages of files are given back."""
    room = [limit - used for limit, used in _limits()]
    return max(0, min([_kilobytes(PROC / "meminfo", "MemAvailable"), *room]))


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory: in this one's cgroup, or else on the host; 0 where
    nobody counts.
    """
    counters = [PROC / "vmstat"]
    with suppress(OSError, ValueError):
        counters = [*(folder / name for folder in _groups() for name in EVENTS), *counters]
    for file in counters:
        with suppress(OSError, KeyError, ValueError):
            return int(_fields(file)["oom_kill"])
    return 0


def _kilobytes(file: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{field}:")) * 1024


def _limits() -> Iterator[tuple[int, int]]:
    """Of each cgroup that this process is in and that has one: bytes, and those in use that are not given back."""
    for folder in _groups():
        for limit, usage in NAMES:
            with suppress(OSError, ValueError):  # the root has none, version 2 says `max`
                yield int((folder / limit).read_text()), int((folder / usage).read_text()) - _inactive(folder)


def _groups() -> Iterator[Path]:
    """Folders of the cgroups that this process is in, its own first, then those around it."""
    for line in (PROC / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = CGROUPS / controllers
        own = root / path.lstrip("/")
        yield from (folder for folder in [own, *own.parents] if folder.is_relative_to(root))


def _inactive(folder: Path) -> int:
    """Pages of files that nobody has used for a while."""
    rows = _fields(folder / "memory.stat")
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))


def _fields(file: Path) -> dict[str, str]:
    """A name and a number a line."""
    return dict(line.split() for line in file.read_text().splitlines())
