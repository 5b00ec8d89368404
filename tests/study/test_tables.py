"""What a narrow terminal shows."""

from __future__ import annotations

import pytest
from rich.console import Console

from hlgp_dist.study import tables


@pytest.mark.parametrize("num_tasks", [1, 5, 7, 8, 10, 20])
def test_no_accuracy_is_cut(
    num_tasks: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "console", Console(width=80))
    tables.show_matrix([[1.0] * (t + 1) + [None] * (num_tasks - t - 1) for t in range(num_tasks)])
    text = capsys.readouterr().out
    assert text.count("100.0") == num_tasks * (num_tasks + 1) // 2
    assert "…" not in text
    if num_tasks <= 10:
        assert max(map(len, text.splitlines())) <= 80


def test_tasks_learned_at_once_are_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_matrix([[0.5, 0.25, 1.0]])
    text = capsys.readouterr().out
    assert all(value in text for value in ("task 2", "50.0", "25.0", "100.0"))
