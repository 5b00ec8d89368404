"""`python -m tests.launch.shrunk SHARDS FOLDER ELASTIC`: a search of trials of two workers that loses a node for good.

Run on the machine of `isolated`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.course import FILE
from hlgp_dist.tuning.record import read_record
from tests.launch.nodes import Nodes
from tests.launch.tune import Tune

SEARCH = {
    "space": {"optimizer.prompt_lr": {"grid": [0.01, 0.02]}},
    "num_samples": 1,
    "scheduler": {"kind": "fifo"},
    "max_concurrent_trials": 1,
}
WAIT_SECONDS, LONGEST_SECONDS = 10, 400
OPTIONS = ("launch.num_workers=2", f"launch.wait_seconds={WAIT_SECONDS}", "benchmark.max_tasks=2", "train.epochs=4")


def ended(search: Tune) -> int:
    """Its exit code."""
    while (code := search.exit_code()) is None:
        assert search.seconds < LONGEST_SECONDS, "it does not end"
        time.sleep(0.5)
    return code


def main(shards: Path, folder: Path, elastic: str) -> None:
    nodes = Nodes(2, cpus=1)
    search = Tune(shards, folder / "search", SEARCH, *OPTIONS, f"launch.elastic={elastic}")
    while not any(event["event"] == "reported" for event in read_record(search.folder / FILE)):
        assert search.exit_code() is None
        time.sleep(0.2)
    nodes.lose_one()
    code, run = ended(search), RunFolder(search.folder)
    result = json.loads(run.result.read_text())
    events = [(event["event"], event.get("trial")) for event in read_record(search.folder / FILE)]
    print(f"{search.seconds:.0f} s, exit code {code}: {result['reason']}; {events[-4:]}", flush=True)
    if elastic == "true":
        second = RunFolder(search.folder / "trials" / "trial-00001")
        assert code == 0 and json.loads(second.result.read_text())["num_workers"] == 1
        return
    assert code == result["exit_code"] == 4 and "after launch.wait_seconds" in result["reason"]
    assert ("started", "trial-00001") not in events, "it waits for the next command"
    nodes.replace_lost()
    assert subprocess.run(search.words, check=False).returncode == 0, "the same command resumes"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
