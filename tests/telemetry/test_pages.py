"""What somebody sees of a run in TensorBoard, page by page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.pages import PAGES
from tests.jobs import job
from tests.ranks import Ranks
from tests.telemetry.browser import Browser, browser, needs_chromium, read, served, wait_for
from tests.telemetry.trials import VARIED, leave_trials

TASKS, TRIALS = 3, 300
QUESTIONS = [page.question for page in PAGES]
COLUMNS = ("hparam/final_avg_acc", "hparam/cum_avg_acc", "hparam/forgetting")
TOGETHER = r"hparam/\w+"
"""What the HParams page alone shows."""


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> RunFolder:
    """Three tasks."""
    path = tmp_path_factory.mktemp("runs") / "hlgp"
    folder, codes = ranks.run(job(drawn, path, f"benchmark.max_tasks={TASKS}", "train.epochs=1"))
    assert codes == [0]
    return folder


def test_each_curve_stands_in_one_chart_and_each_chart_has_one(run: RunFolder, drawn: Path, ranks: Ranks) -> None:
    """Of HLGP on test pictures and of a pool on validation pictures, earlier tasks in part."""
    options = ("method.kind=coda", "method.num_components=5", "benchmark.validation_fraction=0.3")
    partly = ("evaluation.old_task_fraction=0.5", f"benchmark.max_tasks={TASKS}", "train.epochs=1")
    other, codes = ranks.run(job(drawn, run.path.parent / "coda", *options, *partly))
    assert codes == [0]
    events = [event for folder in (run, other) for event in read_events(folder.path / "metrics.jsonl")]
    tags = {tag for event in events for tag in event.tags}
    charts = {chart.title: chart.tags for page in PAGES for chart in page.charts}
    assert len(charts) == sum(len(page.charts) for page in PAGES)
    of_a_gpu = "retries of the allocator"
    shown = {title: {tag for tag in tags if any(re.fullmatch(form, tag) for form in charts[title])} for title in charts}
    assert [title for title in shown if not shown[title]] == [of_a_gpu]
    for tag in tags:
        places = [title for title in shown if tag in shown[title]]
        assert len(places) == (0 if re.fullmatch(TOGETHER, tag) else 1), (tag, places)


def test_the_documentation_asks_the_same_questions() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tensorboard.md").read_text()
    assert re.findall(r"^\| ([^|]*\?) \|", text, re.MULTILINE) == QUESTIONS


@needs_chromium
def test_each_page_shows_the_run(run: RunFolder, tmp_path: Path) -> None:
    result = run.read_finished()
    assert result is not None
    with served(run.path.parent) as address, browser(address, tmp_path) as window:
        curves = window.visited("timeseries", "hlgp/tensorboard", "acc_matrix")
        for group in ("data", "eval", "memory", "prompts", "task", "task_confusion", "throughput", "train"):
            assert group in curves
        questions = window.visited("custom_scalars", *QUESTIONS, "Matches (3)", "Matches (2)")
        assert [questions.index(question) for question in QUESTIONS] == sorted(map(questions.index, QUESTIONS))
        window.visited("images", "acc_matrix", "prompts", "task_confusion", f"step {TASKS - 1}")
        table = window.visited("hparams", "hlgp", "evaluated_on", *COLUMNS)
        assert f"{result['final_average_accuracy']:.5f}"[:6] in table
        assert "prompt_length: 2" in window.visited("text", "config", "seed: 0")


def accuracies_shown(window: Browser) -> list[tuple[str, float]]:
    """Trial and final accuracy, row by row of the HParams table."""
    rows = window.seen().partition("Show Metrics")[2]
    of_row = r"(trial-\d{5}) (?:test|validation) \S+ \S+ \S+ \S+ (\S+)"
    return [(trial, float(accuracy)) for trial, accuracy in re.findall(of_row, rows)]


@pytest.mark.soak
@needs_chromium
@pytest.mark.timeout(900)
def test_three_hundred_trials(tmp_path: Path) -> None:
    """They open in seconds, and their table sorts and filters."""
    accuracies = leave_trials(tmp_path / "trials", TRIALS)
    best = sorted(accuracies.values(), reverse=True)
    with served(tmp_path / "trials") as address, browser(address, tmp_path / "shots") as window:
        seconds = {"runs": wait_for(lambda: len(read(address, "data/runs")) == TRIALS)}
        seconds["hparams"] = wait_for(lambda: len(groups(address)) == TRIALS)
        assert max(seconds.values()) < 30, seconds
        names = [info["name"] for info in read(address, "data/plugin/hparams/experiment", {})["hparamInfos"]]
        assert set(names[:4]) == {"evaluated_on", *VARIED}
        table = window.visited("hparams", f"Number of matching session groups: {TRIALS}", "trial-00020")
        assert [table.index(name) for name in COLUMNS] == sorted(map(table.index, COLUMNS))
        window.choose("Sort by", COLUMNS[0])
        window.choose("Direction", "Descending")
        name = max(accuracies, key=accuracies.__getitem__)
        wait_for(lambda: accuracies_shown(window)[0][0] == name)
        window.showing("sorted")
        found = [accuracy for _, accuracy in accuracies_shown(window)]
        assert found == pytest.approx(best[: len(found)], abs=1e-4) and len(found) > 20, "what fits the window"
        window.fill(COLUMNS[0], "Min", "0.75")
        good = [accuracy for accuracy in best if accuracy >= 0.75]
        window.showing("filtered", f"Number of matching session groups: {len(good)}")
        found = [accuracy for _, accuracy in accuracies_shown(window)]
        assert found == pytest.approx(good[: len(found)], abs=1e-4)
        window.visited("timeseries", "trial-00042/tensorboard", "acc_matrix 300 cards")
        window.visited("custom_scalars", *QUESTIONS)
        window.visited("images", "acc_matrix")


def groups(address: str) -> list[object]:
    """The rows that HParams knows, whatever became of the runs."""
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    question = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 10 * TRIALS}
    found: list[object] = read(address, "data/plugin/hparams/session_groups", question).get("sessionGroups", [])
    return found
