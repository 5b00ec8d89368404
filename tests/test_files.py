"""What writers leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.files import sweep, write_text
from tests.small_disk import run_on_small_disk


def test_what_killed_writers_left_is_swept_away(tmp_path: Path) -> None:
    write_text(tmp_path / "logs" / "kept.json", "{}")
    (tmp_path / "logs" / ".kept.json.7.aside").write_text("{")
    (tmp_path / "checkpoints" / ".task-01-step-000002.aside").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".task-01-step-000002.aside" / ".state.json.7.aside").write_text("{")
    sweep(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "logs" / "kept.json"]


WHOLE = "from hlgp_dist.files import write_text; write_text(folder / 'a' / 'file', text)"
LINES = "from hlgp_dist.tuning.record import Record; Record(folder / 'a' / 'file', print).append({'text': text})"


@pytest.mark.parametrize("written", [WHOLE, LINES])
def test_a_full_disk_is_named(written: str, tmp_path: Path) -> None:
    script = f"import sys, pathlib; folder, text = pathlib.Path(sys.argv[1]), 'x' * 2**21; {written}"
    done = run_on_small_disk(tmp_path, "1m", script, tmp_path)
    last = f"hlgp_dist.errors.DiskFull: no room left in {tmp_path}/a: No space left on device"
    assert done.stderr.splitlines()[-1] == last
