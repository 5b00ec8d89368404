"""`python -m tests.launch.steady SHARDS FOLDER`: forty short trials, most of them stopped, leave nothing in memory.

Run on the machine of `isolated`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.course import FILE
from hlgp_dist.tuning.record import read_record
from tests.launch.nodes import Nodes
from tests.launch.remains import assert_cluster_is_free, assert_machine_is_clean, assert_no_halves
from tests.launch.tune import Tune

TRIALS, WARM = 40, 10
SEARCH = {
    "space": {"optimizer.head_lr": {"loguniform": [5e-3, 2e-1]}},
    "num_samples": TRIALS,
    "scheduler": {"kind": "asha", "grace_tasks": 1, "reduction_factor": 4},
    "validation_fraction": 0.5,  # of few pictures: who is equally good is not stopped
}
OPTIONS = ("train.epochs=2", "benchmark.init_cls=6", "benchmark.max_tasks=3")
GROWTH_MIB = 10
"""A third of a MiB a trial; the allocator alone comes and goes by 4 (measured: 926 to 930 over 40 trials)."""
SAMPLE_SECONDS = 1.0


def resident_mib(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_by_trial(search: Tune) -> dict[int, float]:
    """MiB that the driver held at last while that many trials had begun."""
    held: dict[int, float] = {}
    while not search.is_over():
        begun = sum(event["event"] == "started" for event in read_record(search.folder / FILE))
        if not (search.folder / "trials.csv").exists():  # then the winner is refitted
            held[begun] = resident_mib(search.number)
        time.sleep(SAMPLE_SECONDS)
    return held


def main(shards: Path, folder: Path) -> None:
    nodes = Nodes(2, cpus=1)
    search = Tune(shards, folder / "search", SEARCH, *OPTIONS)
    held = memory_by_trial(search)
    print(f"{search.seconds:.0f} s; MiB by trials begun: { {n: round(mib) for n, mib in held.items()} }", flush=True)
    result = RunFolder(search.folder).read_finished()
    assert result is not None
    stopped = sum(trial["status"] == "stopped" for trial in result["trials"])
    print(f"{stopped} of {len(result['trials'])} trials stopped", flush=True)
    assert len(result["trials"]) == TRIALS and stopped > TRIALS / 2
    growth = max(mib for begun, mib in held.items() if begun > WARM) - held[WARM]
    assert growth < GROWTH_MIB, f"{growth} MiB in the last {TRIALS - WARM} trials"
    assert_no_halves(folder)
    assert_cluster_is_free()
    nodes.close()
    assert_machine_is_clean()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
