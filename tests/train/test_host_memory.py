"""What a process on a CPU does with memory that it freed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PAGES = 10_000  # of 4 KiB: above the 32 MiB from which on glibc otherwise gives each block back
SCRIPT = f"""
import json, resource, sys
import torch
from hlgp_dist.train.device_memory import DeviceMemory

memory = DeviceMemory("cpu")
if sys.argv[1] == "keeps":
    memory.keep_freed()

def tensors():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(9):
        torch.ones({PAGES * 1024})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

tensors()
faults, held = tensors(), memory.held()
memory.give_back()
print(json.dumps([faults, held - memory.held()]))
"""


@pytest.mark.parametrize("way", ["keeps", "returns"])
def test_a_rank_uses_the_pages_of_freed_tensors_again(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True)
    faults, given_back = json.loads(done.stdout)
    assert (faults < PAGES / 10) is (way == "keeps"), faults
    assert (given_back > PAGES * 4096 / 2) is (way == "keeps"), "what is kept can be given back"
