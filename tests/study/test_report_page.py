"""The page of `hlgp report`: what it says, that it says it again byte for byte, and its arithmetic."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError
from hlgp_dist.files import write_json, write_text
from hlgp_dist.study.collect import find
from hlgp_dist.study.frames import load, load_scalars
from hlgp_dist.study.report import ReportOptions, run_report
from hlgp_dist.study.reporting import plots
from hlgp_dist.study.reporting.costs import actual_grid, planned_grid
from hlgp_dist.study.reporting.latex import booktabs, escaped
from hlgp_dist.study.reporting.places import axes_of, lines_along
from hlgp_dist.study.reporting.placing import placed
from hlgp_dist.study.reporting.searches import history
from hlgp_dist.study.reporting.style import compact
from hlgp_dist.study.scaling import PowerLaw, front, power_law
from hlgp_dist.terminal import Grid
from hlgp_dist.train.estimate.speed import Bench, read_bench
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.tuning.importance import importances
from tests.jobs import WITHOUT_GRADIENTS, job
from tests.results import leave_run
from tests.study.studies import STUDY, found, leave_study, without_times
from tests.verbs import hlgp


def read(folder: Path) -> str:
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def cells_of_table(page: str, caption: str) -> list[list[str]]:
    """The body of the first table whose caption begins so."""
    body = re.search(rf"<caption>{re.escape(caption)}.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert body is not None, caption
    rows = re.findall(r"<tr>(.*?)</tr>", body.group(1), re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = leave_study(tmp_path_factory.mktemp("reports") / "scaling")
    run_report([str(folder)], ReportOptions())
    return folder


def test_the_page_answers_first(study: Path) -> None:
    page = read(study)
    assert "Best on shards, 5 tasks of 2 classes: l-hlgp, final average accuracy" in page
    crossed = cells_of_table(page, "final average accuracy, % (backbone across)")
    assert [row[0] for row in crossed] == ["hlgp", "independent", "linear"]
    assert all(re.fullmatch(r"(≈ )?\d+\.\d ± \d+\.\d", cell) for row in crossed for cell in row[1:])
    assert page.count('class="best"') == 3, "the best of each backbone"


def test_the_page_needs_no_network(study: Path) -> None:
    page = read(study)
    assert not re.search(r"<script|<link|src=|@import|url\((?!#)", page)
    outside = {address for address in re.findall(r'https?://[^"<\s]+', page) if "www.w3.org" not in address}
    assert not outside
    assert page.count("<svg ") == len(list((study / "report" / "figures").glob("*.svg"))) >= 8


def test_every_figure_is_there_as_svg_and_png(study: Path) -> None:
    figures = {path.name for path in (study / "report" / "figures").iterdir()}
    for name in ("over_tasks", "matrices", "stability", "along_backbone", "along_method", "error_backbone", "tradeoff"):
        assert {f"{name}.svg", f"{name}.png"} <= figures
    assert "error_method.svg" not in figures, "methods are no more or less of one thing"


def test_of_many_rows_the_most_accurate_ones_have_matrices(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = placed(found(study))
    monkeypatch.setattr(plots, "MAPS", 4)
    shown = plots.mapped(cells)
    worst_shown = min(np.mean(cell.finals()) for cell in shown)
    assert len(shown) == 4 < len(cells) and shown == [cell for cell in cells if cell in shown]
    assert all(np.mean(cell.finals()) <= worst_shown for cell in cells if cell not in shown)
    run_report([str(study)], ReportOptions(out=tmp_path / "out"))
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count(f"The most accurate 4 of {len(cells)} rows.") == 2 and "most accurate" not in read(study)


def test_a_second_report_is_the_same_byte_for_byte(study: Path) -> None:
    report = study / "report"
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    assert len(before) > 20
    run_report([str(study)], ReportOptions())
    assert before == {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}


def test_another_process_writes_the_same(study: Path, tmp_path: Path) -> None:
    """With other hashes of text, by which sets are in another order."""
    code = "from hlgp_dist.cli import main; main()"
    command = [sys.executable, "-c", code, "report", str(study), "--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    pages = [(folder / "index.html").read_text() for folder in (study / "report", tmp_path / "out")]
    assert re.sub(r"hlgp report .*", "", pages[0]) == re.sub(r"hlgp report .*", "", pages[1])


def test_other_times_change_what_is_marked_as_time_alone(study: Path) -> None:
    before = read(study)
    kept = study.with_name("kept")
    study.rename(kept)
    try:
        leave_study(study, seconds=17.0)
        run_report([str(study)], ReportOptions())
        after = read(study)
    finally:
        study.rename(study.with_name("slower"))
        kept.rename(study)
    assert after != before
    assert without_times(after) == without_times(before)


def test_a_line_without_any_change_is_no_trouble(tmp_path: Path) -> None:
    """Its logarithms have nothing that R² could explain."""
    write_text(tmp_path / "study.yaml", "study: {axes: {blocks: {a: {}, b: {}, c: {}}}}\n")
    for place, name in enumerate("abc"):
        weights = {"name": "vit_tiny_patch16_224", "weights": "none", "sha256": name * 64, "timm_version": "1.0.31"}
        leave_run(tmp_path / name / "seed-0", backbone=weights | {"num_parameters": 10**place * 1000})
    run_report([str(tmp_path)], ReportOptions())
    (law, *_) = cells_of_table(read(tmp_path), "error = a × quantity^-exponent")
    assert law[2] == "3" and float(law[3]) == 0 and law[5] == "-"


def test_a_power_law_has_an_interval_and_an_exponent(study: Path) -> None:
    rows = cells_of_table(read(study), "error = a × quantity^-exponent")
    mine = {row[1]: row for row in rows if row[0] == "hlgp"}
    _, _, points, exponent, interval, _ = mine["parameters of the backbone"]
    assert points == "3" and float(exponent) > 0
    low, high = map(float, interval.strip("[]").split(", "))
    assert low <= float(exponent) <= high


def test_plan_and_what_was_stand_side_by_side(study: Path) -> None:
    planned = {row[0]: row for row in cells_of_table(read(study), "planned for one run of each cell")}
    assert planned["s-hlgp"] == ["s-hlgp", "100", "7.50", "30.00", "1,000", "1,024"]
    took = {row[0]: row for row in cells_of_table(read(study), "what its runs took")}
    # 100 pictures a second, of 0.8 x 30 TFLOP over 1,000 pictures, on one worker; 1 GB held where 1 GiB was planned
    assert took["s-hlgp"][2:8] == ["0.002778", "-", "-", "100", "2.4", "-"]
    assert took["s-hlgp"][8:] == ["954", "93"]


def test_mfu_and_planned_hours_are_of_a_measured_device(study: Path) -> None:
    cells = placed(found(study))
    took = {row[0]: row for row in actual_grid(cells, Bench(peak=4.8e12, sustained=2.4e12)).rows}
    # 24 TFLOP of training at 2.4 TFLOP/s are the 10 seconds that were taken
    assert took["s-hlgp"][2:5] == ["0.002778", "0.002778", "100"] and took["s-hlgp"][7] == "50.0"
    took = {row[0]: row for row in actual_grid(cells, Bench(peak=4.8e12, sustained=None)).rows}
    assert took["s-hlgp"][3] == "-" and took["s-hlgp"][7] == "50.0"


def test_a_bench_may_know_no_mfu(tmp_path: Path) -> None:
    write_json(tmp_path / "bench.json", {"gemm_peak_flops": 4.8e12, "mfu": 0.5})
    assert read_bench(tmp_path / "bench.json") == Bench(4.8e12, 2.4e12)
    write_json(tmp_path / "bench.json", {"gemm_peak_flops": 4.8e12})
    assert read_bench(tmp_path / "bench.json") == Bench(4.8e12, None)


def test_a_peak_that_is_not_there_is_told(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "bench.json", {"mfu": 0.5})
    assert hlgp(monkeypatch, "report", study, "--bench", tmp_path / "bench.json", "--out", tmp_path / "out") == 2
    assert "has no gemm_peak_flops; give the JSON of `hlgp bench step`" in capsys.readouterr().err
    assert hlgp(monkeypatch, "report", study, "--bench", tmp_path / "none.json", "--out", tmp_path / "out") == 2
    assert "none.json: no such file" in capsys.readouterr().err
    assert hlgp(monkeypatch, "report", study, "--out", tmp_path / "bench.json") == 2
    told = capsys.readouterr()
    assert "bench.json: is a file; give a folder" in told.err and told.out == ""


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    stale = tmp_path / "report" / "figures" / "along_width.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    run_report([str(tmp_path)], ReportOptions())
    assert not stale.exists() and (tmp_path / "report" / "figures" / "over_tasks.png").exists()


def test_a_baseline_may_be_a_choice_that_every_table_has(study: Path, tmp_path: Path) -> None:
    run_report([str(study)], ReportOptions(out=tmp_path, baseline="linear"))
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r"<caption>difference to (\S+),", page) == ["s-linear", "b-linear", "l-linear"]
    with pytest.raises(
        ConfigError, match=r"no row is 'coda_prompt'; there are: s-hlgp; .*; hlgp; independent; linear$"
    ):
        run_report([str(study)], ReportOptions(out=tmp_path, baseline="coda_prompt"))


def test_a_cell_beside_the_axes_keeps_them(tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    write_text(tmp_path / "study.yaml", f"{STUDY}  cells: {{extra: {{}}}}\n")
    leave_run(tmp_path / "extra" / "seed-0", "method.kind=ncm", *WITHOUT_GRADIENTS)
    cells = placed(found(tmp_path))
    assert axes_of(cells) == {"backbone": ["s", "b", "l"], "method": ["hlgp", "independent", "linear"]}
    assert len(cells) == 10 and sum(len(line.members) for line in lines_along("backbone", cells)) == 9
    run_report([str(tmp_path)], ReportOptions())
    assert "extra" in read(tmp_path)


def test_two_files_of_weights_are_two_backbones(tmp_path: Path) -> None:
    weights = {"name": "vit_tiny_patch16_224", "weights": "none", "timm_version": "1.0.31"}
    for place, (depth, sha256) in enumerate([(2, "a" * 64), (4, "b" * 64), (4, "c" * 64)]):
        for method in ("hlgp", "independent"):
            overrides = (f"method.kind={method}", f"backbone.kwargs.depth={depth}")
            leave_run(tmp_path / f"{method}_{place}", *overrides, backbone=weights | {"sha256": sha256})
    names = axes_of(placed(found(tmp_path)))["backbone"]
    assert [name.rpartition("224 ")[2] for name in names] == ["depth=2", "depth=4 bbbbbb", "depth=4 cccccc"]


@pytest.mark.parametrize(
    "plan", ["[]", '{"cells": []}', '{"cells": {"s-hlgp": {"runs": [{"values": {}, "run": {"steps": 3}}]}}}', '{"cells']
)
def test_a_plan_that_cannot_be_read_is_none(plan: str, tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    (tmp_path / "plan.json").write_text(plan)
    assert planned_grid(placed(found(tmp_path))) is None


def test_what_a_study_has_not_begun_is_said(tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    write_text(tmp_path / "study.yaml", STUDY.replace("study:\n", "study:\n  seeds: [0, 1]\n"))
    (reason,) = load(str(tmp_path)).unfinished["reason"]
    assert reason.startswith("not begun: s-hlgp/seed-1, s-independent/seed-1, ") and reason.endswith(" and 3 more")


@pytest.mark.parametrize("file", ["study.yaml", "plan.json"])
def test_a_damaged_file_of_a_study_is_told_and_its_runs_are_not_lost(file: str, tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    (tmp_path / file).write_text("a: [")
    everything = find([RunFolder(tmp_path)])
    assert len(everything.runs) == 9 and file in str(everything.unfinished[0])


def test_all_that_is_wrong_with_a_study_is_told(tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    write_text(tmp_path / "study.yaml", STUDY.replace("study:\n", "study:\n  seeds: [0, 1]\n"))
    (tmp_path / "plan.json").write_text("{")
    told = [entry.reason.partition(":")[0] for entry in find([RunFolder(tmp_path)]).unfinished]
    assert told == ["plan.json cannot be read", "not begun"]


def test_a_damaged_search_is_told(tmp_path: Path) -> None:
    leave_search(tmp_path / "search", 3)
    (tmp_path / "search" / "result.json").write_text("{")
    everything = find([RunFolder(tmp_path)])
    assert len(everything.runs) == 1 and everything.searches == []
    assert list(map(str, everything.unfinished)) == [f"{tmp_path}/search: result.json is damaged"]


def test_commands_can_be_pasted(tmp_path: Path) -> None:
    leave_run(tmp_path / "my runs" / "one", "seed=1")
    leave_search(tmp_path / "search", 3)
    run_report([str(tmp_path)], ReportOptions(apart=True))
    page = read(tmp_path)
    assert f"hlgp train &#39;{tmp_path}/my runs/one/config.yaml&#39;" in page
    assert f"hlgp tune {tmp_path}/search/config.yaml" in page and f"hlgp report {tmp_path} --apart" in page


def test_what_a_run_says_is_no_markup(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    write_text(tmp_path / "b" / "config.yaml", dump(job(Path("shards"), tmp_path)))
    write_json(tmp_path / "b" / "result.json", {"exit_code": 1, "reason": "<script>alert(1)</script>"})
    run_report([str(tmp_path)], ReportOptions())
    assert "<script" not in read(tmp_path) and "&lt;script&gt;" in read(tmp_path)


def test_runs_without_a_study_are_placed_by_method_and_backbone(tmp_path: Path) -> None:
    for depth in (2, 4):
        for method in ("hlgp", "independent"):
            overrides = (f"method.kind={method}", f"backbone.kwargs.depth={depth}")
            leave_run(tmp_path / f"{method}_{depth}", *overrides)
    cells = placed(found(tmp_path))
    assert axes_of(cells) == {
        "method": ["hlgp", "independent"],
        "backbone": ["vit_tiny_patch16_224 depth=2", "vit_tiny_patch16_224 depth=4"],
    }
    lines = lines_along("backbone", cells)
    assert [line.series for line in lines] == ["hlgp", "independent"]
    assert all(len(line.members) == 2 for line in lines)


def leave_search(folder: Path, count: int) -> None:
    """Accuracy that grows with one key and not with the other; the fifth trial failed."""
    space = "search.space={optimizer.head_lr: {loguniform: [0.001, 0.1]}, train.epochs: {choice: [1, 2]}}"
    write_text(folder / "config.yaml", dump(job(Path("shards"), folder, space)))
    trials: list[dict[str, Any]] = [
        {
            "trial": f"trial-{place:05d}",
            "optimizer.head_lr": 0.001 * 1.5**place,
            "train.epochs": 1 + place % 2,
            "status": "failed" if place == 4 else "done",
            "tasks_finished": 5,
            "objective": None if place == 4 else 0.4 + 0.04 * place,
            "seconds": 10.0,
            "reason": "out of memory" if place == 4 else "",
        }
        for place in range(count)
    ]
    write_json(
        folder / "result.json",
        {"exit_code": 0, "reason": "done", "trials": trials, "test": {}, "spent": {"gpu_hours": 0.25}},
    )
    leave_run(folder / "best")


def test_a_search_has_its_history_and_which_key_mattered(tmp_path: Path) -> None:
    leave_search(tmp_path / "search", 12)
    run_report([str(tmp_path)], ReportOptions())
    page = read(tmp_path)
    assert "Device-hours of its trials: 0.25." in page and "Device-hours" not in without_times(page)
    assert "search: 12 trials of optimizer.head_lr, train.epochs" in page
    assert "importance (PED-ANOVA)" in page and "best so far" in page
    rows = cells_of_table(page, "trials, best first")
    assert rows[0][0] == "trial-00011" and rows[-1][-1] == "out of memory"


def test_replicates_count_as_one_configuration(tmp_path: Path) -> None:
    leave_search(tmp_path / "search", 9)
    result = json.loads((tmp_path / "search" / "result.json").read_text())
    for place, trial in enumerate(result["trials"]):
        trial |= {"configuration": place // 3, "status": "done", "objective": 0.1 * place}
    write_json(tmp_path / "search" / "result.json", result)
    (search,) = find([RunFolder(tmp_path)]).searches
    assert [(place, round(objective, 6)) for place, _, objective in search.done()] == [(2, 0.1), (5, 0.4), (8, 0.7)]


def test_a_trial_that_its_space_does_not_have_leaves_importance_unknown(tmp_path: Path) -> None:
    leave_search(tmp_path / "search", 12)
    file = tmp_path / "search" / "result.json"
    result = json.loads(file.read_text())
    result["trials"][0]["optimizer.head_lr"] = 5.0
    write_json(file, result)
    (search,) = find([RunFolder(tmp_path)]).searches
    assert len(search.done()) == 11 and len(history(search).axes) == 2


def test_importance_finds_the_key_that_matters() -> None:
    space = job(
        Path("shards"), Path("x"), "search.space={seed: {choice: [0, 1]}, optimizer.head_lr: {uniform: [0.1, 1.0]}}"
    ).search
    assert space is not None
    values = [{"seed": place % 2, "optimizer.head_lr": 0.1 + place / 25} for place in range(20)]
    parts = importances(space.space, values, [value["optimizer.head_lr"] for value in values])
    assert next(iter(parts)) == "optimizer.head_lr" and parts["optimizer.head_lr"] > 0.8
    assert sum(parts.values()) == pytest.approx(1.0)
    assert importances(space.space, values[:7], [0.1] * 7) == {}, "too few to say"


def at_given(sizes: list[float], errors: list[list[float]]) -> PowerLaw | None:
    """Quantities that are the same for each seed."""
    return power_law([[size] * len(seeds) for size, seeds in zip(sizes, errors, strict=True)], errors)


def test_a_power_law_is_found_again() -> None:
    sizes = [1e6, 1e7, 1e8, 1e9]
    law = at_given(sizes, [[0.5 * size**-0.25] * 3 for size in sizes])
    assert law is not None
    assert law.exponent == pytest.approx(0.25) and law.scale == pytest.approx(0.5)
    assert law.r_squared == pytest.approx(1.0) and law.low is None, "no seed moves an error"
    assert law.at(np.array([1e10])) == pytest.approx([0.5 * 1e10**-0.25])


def test_a_power_law_wants_three_points_and_its_interval_three_seeds() -> None:
    assert at_given([1e6, 1e7], [[0.5], [0.4]]) is None
    assert at_given([1e6, 1e7, 1e8], [[0.5], [0.4], [0.0]]) is None
    assert at_given([1e6, 1.1e6, 1.2e6], [[0.5], [0.4], [0.3]]) is None, "too near to one another"
    some_without = at_given([1e6, 1e7, 1e8], [[0.5] * 3, [0.4] * 3, [0.0, 0.01, 0.01]])
    assert some_without is not None and some_without.low is None
    law = at_given([1e6, 1e7, 1e8], [[0.5, 0.6], [0.4, 0.5], [0.3, 0.4]])
    assert law is not None and law.low is None


def width(law: PowerLaw | None) -> float:
    assert law is not None and law.low is not None and law.high is not None
    assert law.low <= law.exponent <= law.high
    return law.high - law.low


def test_an_interval_widens_with_the_seeds_spread() -> None:
    sizes = [1e6, 1e7, 1e8]
    near = at_given(sizes, [[e - 0.001, e, e + 0.001] for e in (0.5, 0.4, 0.3)])
    far = at_given(sizes, [[e - 0.1, e, e + 0.1] for e in (0.5, 0.4, 0.3)])
    assert width(far) > 10 * width(near)


def test_an_interval_widens_with_the_spread_of_what_the_error_falls_with() -> None:
    """Device-hours are another run's as much as its error is."""
    errors = [[e - 0.001, e, e + 0.001] for e in (0.5, 0.4, 0.3)]
    given = power_law([[hours] * 3 for hours in (1.0, 4.0, 16.0)], errors)
    taken = power_law([[hours / 2, hours, hours * 2] for hours in (1.0, 4.0, 16.0)], errors)
    assert width(taken) > 10 * width(given)


def test_the_front_is_what_nothing_beats_in_both() -> None:
    assert front([1, 2, 3, 2.5, 1], [0.5, 0.6, 0.55, 0.7, 0.4]) == [0, 1, 3]
    assert front([5], [0.1]) == [0]
    assert front([1, 1], [0.5, 0.5]) == [0], "of equal ones the first"


def test_numbers_on_an_axis_are_short() -> None:
    values = (0.0056, 5, 500, 21e6, 2e13, -2500)
    assert [compact(value) for value in values] == ["0.0056", "5", "500", "21 M", "20 T", "\N{MINUS SIGN}2.5 k"]


def test_latex_is_escaped() -> None:
    assert escaped("a_b & 5 % ± 1") == r"a\_b \& 5 \% $\pm$ 1"
    table = booktabs([Grid("a_b", ["method", "final"], [["x", "1.0"]])])
    assert r"\toprule" in table and r"x & 1.0 \\" in table and r"\begin{tabular}{lr}" in table


def test_frames_are_tidy(study: Path) -> None:
    frames = load(str(study))
    assert len(frames.runs) == 27 and len(frames.accuracy) == 27 * 15
    assert set(frames.runs["axis.backbone"]) == {"s", "b", "l"}
    by_cell = frames.runs.groupby("cell", sort=False)["final_average_accuracy"].mean()
    assert by_cell.idxmax() == "l-hlgp" and list(by_cell.index)[:2] == ["s-hlgp", "s-independent"]
    last = frames.accuracy[frames.accuracy.after_task == 4].groupby("run")["accuracy"].mean()
    joined = frames.runs.set_index("run")["final_average_accuracy"]
    assert np.allclose(last.sort_index(), joined.sort_index())
    assert frames.runs["method.kind"].eq(frames.runs["method"]).all()


def test_frames_hold_searches_and_what_did_not_finish(tmp_path: Path) -> None:
    leave_search(tmp_path / "search", 3)
    write_text(tmp_path / "gone" / "config.yaml", dump(job(Path("shards"), tmp_path)))
    write_json(tmp_path / "gone" / "result.json", {"exit_code": 5, "reason": "out of memory"})
    frames = load(str(tmp_path))
    assert list(frames.trials["optimizer.head_lr"]) == pytest.approx([0.001, 0.0015, 0.00225])
    assert list(frames.unfinished["reason"]) == ["exit code 5: out of memory"]


def test_scalars_are_a_frame_of_their_own(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    line = '{"schema_version": 1, "wall_time": 5.0, "axis": "step", "step": 3, "tags": {"train/loss": 0.5}}\n'
    write_text(tmp_path / "a" / "metrics.jsonl", line)
    frame = load_scalars(str(tmp_path))
    assert frame.to_dict("records") == [
        {"run": str(tmp_path / "a"), "axis": "step", "step": 3, "tag": "train/loss", "value": 0.5, "time": 5.0}
    ]
