"""A real search without a file to read, whose trials test earlier tasks in part: two workers a trial."""

from __future__ import annotations

import csv
import json
import uuid
from pathlib import Path

import pytest

from hlgp_dist.train.folder import RunFolder
from tests.jobs import job, written
from tests.launch.test_search import hlgp, left_over

DRAWN = ("data.kind=synthetic", "data.classes=8", "data.train_per_class=12", "data.test_per_class=5", "data.size=36")
SEARCH = {
    "space": {"optimizer.head_lr": {"grid": [0.05, 0.0001]}},
    "num_samples": 1,
    "scheduler": {"kind": "fifo"},
    "validation_fraction": 0.5,
    "old_task_fraction": 0.34,
    "max_tasks": 3,
}

pytestmark = pytest.mark.soak


def test_trials_test_in_part_and_the_winner_is_tested_whole(tmp_path: Path) -> None:
    options = (*DRAWN, f"data.cache_dir={tmp_path / 'stores'}", "launch.num_workers=2", "train.epochs=1")
    file = written(job(tmp_path / "nowhere", tmp_path / "search", *options), tmp_path / "search.yaml")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"search": SEARCH}))
    mark = uuid.uuid4().hex
    done = hlgp("tune", str(file), mark=mark)
    assert done.returncode == 0, done.stderr[-2000:]
    assert left_over(mark) == []
    outcome = json.loads((tmp_path / "search" / "result.json").read_text())
    assert outcome["best_values"] == {"optimizer.head_lr": 0.05}
    for name in ("trial-00000", "trial-00001"):
        trial = RunFolder(tmp_path / "search" / "trials" / name).read_finished()
        assert trial is not None and trial["old_task_fraction"] == 0.34
        assert trial["tested_images"] == [[12, None, None], [4, 12, None], [12, 12, 12]]
        assert trial["estimated"] and trial["evaluated_on"] == "validation"
    best = outcome["test"]
    assert best["tested_images"] == [[10] * tasks + [None] * (4 - tasks) for tasks in range(1, 5)]
    assert (best["old_task_fraction"], best["estimated"], best["evaluated_on"]) == (None, [], "test")
    assert best["prepared_from"].startswith("synthetic, 8 classes of 12 + 5 pictures")
    assert outcome["decoded_images"] == 8 * (12 + 5), "each picture once, those of six classes by the trials"
    with open(tmp_path / "search" / "trials.csv", newline="") as rows:
        assert [row["is_estimate"] for row in csv.DictReader(rows)] == ["False", "False"], "both came to their end"
