"""What a narrow terminal shows."""

from __future__ import annotations

import pytest
from rich.console import Console

from hlgp_dist.study import tables
from hlgp_dist.train.folder import RunFolder


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


def test_an_estimate_has_a_tilde(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "trial": "t",
        "lr": 0.1,
        "status": "stopped",
        "tasks_finished": 2,
        "objective": 0.5,
        "seconds": 1.0,
        "reason": "",
    }
    tables.show_search(
        RunFolder("search"), [row | {"is_estimate": True}, row | {"is_estimate": False, "objective": 0.75}]
    )
    text = capsys.readouterr().out
    assert "~50.0" in text and " 75.0" in text and "is_estimate" not in text


def test_what_was_stopped_stands_below_what_came_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Its objective is over fewer tasks."""
    row = {"trial": "stopped", "lr": 0.1, "status": "stopped", "tasks_finished": 1, "objective": 0.9, "reason": ""}
    done = row | {"trial": "done", "status": "done", "tasks_finished": 5, "objective": 0.6}
    tables.show_search(RunFolder("search"), [row, done])
    text = capsys.readouterr().out
    assert text.index("60.0") < text.index("90.0")


def test_a_long_reason_does_not_widen_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"trial": "t", "lr": 0.1, "status": "failed", "tasks_finished": 1, "objective": None, "reason": "so " * 99}
    tables.show_search(RunFolder("search"), [row])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 140 and "so so ..." in "".join(lines)
