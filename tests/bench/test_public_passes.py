"""docs/performance/public_passes.py, which docs/performance.md quotes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "performance" / "public_passes.py"


def test_both_ways_are_timed() -> None:
    options = ("--backbone", "vit_tiny_patch16_224", "--batch", "2", "--rounds", "1")
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"public passes (\S+), ours with (.*) (\S+): (\S+) times as fast", done.stdout)
    assert [name for _, name, _, _ in found] == ["one pass", "soft matching, two passes"]
    assert all(float(public) > 0 and float(ours) > 0 and float(times) > 0 for public, _, ours, times in found)
