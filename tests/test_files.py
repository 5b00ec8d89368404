"""What writers leave behind."""

from __future__ import annotations

from pathlib import Path

from hlgp_dist.files import sweep, write_text


def test_what_killed_writers_left_is_swept_away(tmp_path: Path) -> None:
    write_text(tmp_path / "logs" / "kept.json", "{}")
    (tmp_path / "logs" / ".kept.json.7.aside").write_text("{")
    (tmp_path / "checkpoints" / ".task-01-step-000002.aside").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".task-01-step-000002.aside" / ".state.json.7.aside").write_text("{")
    sweep(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "logs" / "kept.json"]
