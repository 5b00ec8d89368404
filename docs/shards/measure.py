"""What a picture costs `hlgp data shard` as their number grows: the table of ../shards.md.

    python docs/shards/measure.py 10000 100000 1000000

Makes so many PNGs of 8 x 8 pixels in a temporary folder of 100 classes ($TMPDIR; a million take 4 GB and as many
inodes), shards them with two workers in a process of its own, and removes both.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from hlgp_dist.shards.shard import shard

CLASSES, EDGE, WORKERS = 100, 8, 2


class Cost(NamedTuple):
    """CPU and wall seconds, and the largest resident memory in KiB."""

    parent: float
    workers: float
    wall: float
    parent_kib: int
    worker_kib: int


def png(pixels: bytes) -> bytes:
    """EDGE x EDGE, RGB."""
    rows = b"".join(b"\0" + pixels[3 * EDGE * row :][: 3 * EDGE] for row in range(EDGE))
    header = struct.pack(">IIBBBBB", EDGE, EDGE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def draw(folder: Path, pictures: int) -> None:
    """Noise; a tenth of each class is its test pictures."""
    noise = random.Random(0)
    for index in range(pictures):
        split = "test" if index // CLASSES % 10 == 0 else "train"
        own = folder / split / f"class-{index % CLASSES:03d}"
        if index < 2 * 10 * CLASSES:  # by then all of them are there
            own.mkdir(parents=True, exist_ok=True)
        (own / f"{index:07d}.png").write_bytes(png(noise.randbytes(3 * EDGE * EDGE)))


def measured(folder: str) -> Cost:
    """In a new process."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before, began = [resource.getrusage(each) for each in who], time.perf_counter()
    shard(Path(folder) / "pictures", Path(folder) / "shards", workers=WORKERS)
    wall, after = time.perf_counter() - began, [resource.getrusage(each) for each in who]
    cpu = [b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True)]
    return Cost(cpu[0], cpu[1], wall, *(each.ru_maxrss for each in after))


def main() -> None:
    print("| pictures | CPU a picture, parent | CPU a picture, workers | parent's peak memory | a worker's | wall |")
    print("|---|---|---|---|---|---|")
    for pictures in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder) / "pictures", pictures)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                cost = pool.submit(measured, folder).result()
        cpu = [f"{1e6 * seconds / pictures:.0f} µs" for seconds in (cost.parent, cost.workers)]
        memory = [f"{kib / 1024:.0f} MiB" for kib in (cost.parent_kib, cost.worker_kib)]
        print(f"| {pictures:,} | {' | '.join((*cpu, *memory))} | {cost.wall:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
