"""A search on a host decodes each picture once: `python -m pytest -m soak -s tests/launch/test_search_decoding.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hlgp_dist.shards.shard import shard
from hlgp_dist.train.folder import RunFolder
from tests.jobs import step_values

ROOT = Path(__file__).parents[2]
TRIALS = 8
HLGP = (sys.executable, "-c", "from hlgp_dist.cli import main; main()")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_eight_trials_of_three_epochs_decode_each_picture_once(tmp_path: Path) -> None:
    """Trials that the scheduler stopped count too."""
    manifest = shard(ROOT / "hlgp_dist" / "embedded" / "digits.tar", tmp_path / "shards")
    options = [f"data.path={tmp_path / 'shards'}", f"data.cache_dir={tmp_path / 'cache'}"]
    options += [f"run.dir={tmp_path}", "run.name=search", f"search.num_samples={TRIALS}", "telemetry.progress=false"]
    command = [*HLGP, "tune", str(ROOT / "configs" / "digits_search.yaml"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trials = sorted((tmp_path / "search" / "trials").iterdir())
    assert len(trials) == TRIALS
    decoded = {folder.name: decoded_in(folder) for folder in (*trials, tmp_path / "search" / "best")}
    pictures = sum(len(split) for split in manifest.splits.values())
    print(f"{decoded}: {sum(decoded.values()) / pictures:.3f} times {pictures} pictures")
    assert sum(decoded.values()) == pictures


def decoded_in(folder: Path) -> int:
    """By a run's ranks, up to its end or until it was stopped."""
    return int(sum(step_values(RunFolder(folder), "data/decoded_images").values()))
