"""A study that is stopped twice and goes on: its report is that of one left in peace, byte for byte except times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hlgp_dist.config.write import dump
from hlgp_dist.files import write_text
from tests.jobs import job
from tests.study.studies import without_times

TIMES = ("comparison.csv", "comparison.md", "runs.csv", "tables.tex")
"""Which have seconds and images/s in columns of theirs."""
STUDY = (
    "study={seeds: [0, 1], axes: {blocks: {d1: {backbone.kwargs.depth: 1}, d2: {backbone.kwargs.depth: 2}}, "
    "method: {hlgp: {method: {kind: hlgp, num_groups: 1}}, ncm: {method: {kind: ncm}}}}}"
)


def begin(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from hlgp_dist.cli import main; main()", "study", "scaling.yaml"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)


def finished_parts(folder: Path) -> int:
    return len(list(folder.glob("runs/*/*/seed-*/result.json")))


def stopped_after(folder: Path, parts: int) -> None:
    """A SIGTERM once so many runs have a result."""
    process = begin(folder)
    while finished_parts(folder) < parts:
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 75, (folder / "log").read_text()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_study_stopped_twice_reports_what_one_left_in_peace_does(drawn: Path, tmp_path: Path) -> None:
    for name in ("in_peace", "stopped"):
        write_text(tmp_path / name / "scaling.yaml", dump(job(drawn, Path("runs/scaling"), STUDY)))
    assert begin(tmp_path / "in_peace").wait(600) == 0, (tmp_path / "in_peace" / "log").read_text()
    stopped_after(tmp_path / "stopped", 2)
    stopped_after(tmp_path / "stopped", 5)
    assert begin(tmp_path / "stopped").wait(600) == 0, (tmp_path / "stopped" / "log").read_text()

    one, other = (tmp_path / name / "runs" / "scaling" / "report" for name in ("in_peace", "stopped"))
    pages = [without_times((report / "index.html").read_text(encoding="utf-8")) for report in (one, other)]
    assert pages[0] == pages[1]
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    alike = [file for file in files if file.name not in (*TIMES, "index.html") and "time" not in file.stem]
    alike = [file for file in alike if file.stem != "throughput"]
    assert len(alike) > 10
    for file in alike:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
