"""`hlgp report`: what it finds, what it refuses to mix, and its numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError
from hlgp_dist.files import write_json, write_text
from hlgp_dist.study.cells import cells_of
from hlgp_dist.study.collect import find
from hlgp_dist.study.comparison import Comparison, compare
from hlgp_dist.terminal import Grid
from hlgp_dist.train.folder import RunFolder
from tests.jobs import CLASSES, job
from tests.ranks import Ranks
from tests.results import ENVIRONMENT, EVEN, IMAGES, leave_run, result_of, unfinished
from tests.study.studies import found
from tests.verbs import hlgp

BETTER = ((8,), (6, 10), (6, 10, 6), (6, 10, 6, 14), (7, 12, 7, 16, 36))
"""Ten points more than EVEN on every task after the last one."""
PROBE = ("method.kind=linear", "optimizer.prompt_lr=0.003")


def compared(root: Path, baseline: str | None = None) -> Comparison:
    return compare(found(root), [baseline] if baseline else [])


def column(grid: Grid, title: str) -> dict[str, str]:
    """A column's cells by their row's label."""
    index = list(grid.columns).index(title)
    return {row[0]: row[index] for row in grid.rows}


@pytest.fixture
def two_methods(tmp_path: Path) -> Path:
    """HLGP, better by ten points, and independent prompts, over seeds 0, 1, 2."""
    for seed in range(3):
        leave_run(tmp_path / f"hlgp_{seed}", f"seed={seed}", right=BETTER)
        leave_run(tmp_path / f"independent_{seed}", f"seed={seed}", "method.kind=independent")
    return tmp_path


def test_a_row_is_mean_and_deviation_over_seeds(tmp_path: Path) -> None:
    """The last task's 32, 36 and 28 right of 40 move the final accuracy of 64 % by 0, 2 and -2 points."""
    for seed, last in enumerate((32, 36, 28)):
        leave_run(tmp_path / f"run_{seed}", f"seed={seed}", right=(*EVEN[:-1], (*EVEN[-1][:-1], last)))
    accuracies, costs = compared(tmp_path).grids
    assert column(accuracies, "seeds") == {"hlgp": "3"}
    assert column(accuracies, "final") == {"hlgp": "64.0 ± 2.0"}
    assert column(accuracies, "final, micro") == {"hlgp": "68.0 ± 4.0"}  # 68, 72 and 64 of 100
    assert column(accuracies, "forgetting") == {"hlgp": "5.0 ± 0.0"}  # the first task's 20 points over four tasks
    assert column(accuracies, "task found") == {"hlgp": "50.0 ± 0.0"}
    assert column(costs, "trained a task") == {"hlgp": "1,234"}
    assert column(costs, "stored") == {"hlgp": "5,678"}
    assert column(costs, "images/s") == {"hlgp": "101.0 ± 1.0"}
    assert column(costs, "passes, training") == {"hlgp": "1"}
    assert column(costs, "passes, test") == {"hlgp": "2"}
    assert column(costs, "training seconds") == {"hlgp": "12.5 ± 0.0"}


def test_a_studys_cells_stand_under_their_names_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study:\n  cells: {second: {}, first: {}, both: {}}\n")
    leave_run(tmp_path / "first" / "seed-0", "method.kind=independent")
    leave_run(tmp_path / "second" / "search" / "best")
    leave_run(tmp_path / "second" / "seed-1", "seed=1")
    leave_run(tmp_path / "both" / "seed-0")
    accuracies, _ = compared(tmp_path).grids
    assert [row[:2] for row in accuracies.rows] == [["second", "2"], ["first", "1"], ["both", "1"]]


def test_combinations_of_a_studys_axes_stand_in_its_order(tmp_path: Path) -> None:
    axes = "axes: {part: {whole: {}, half: {}}, method: {hlgp: {}, coda: {}}}"
    (tmp_path / "study.yaml").write_text(f"study:\n  {axes}\n  skip: [whole-coda]\n  cells: {{alone: {{}}}}\n")
    leave_run(tmp_path / "alone" / "seed-0", "method.kind=independent")
    leave_run(tmp_path / "half-coda" / "seed-0", "method={kind: coda}", "data.train_fraction=0.5")
    leave_run(tmp_path / "half-hlgp" / "seed-0", "data.train_fraction=0.5")
    leave_run(tmp_path / "whole-hlgp" / "seed-0")
    comparison = compared(tmp_path)
    assert [row[0] for row in comparison.grids[0].rows] == ["whole-hlgp", "half-hlgp", "half-coda", "alone"]
    assert any("data.train_fraction: 1.0 in whole-hlgp, alone; 0.5 in half" in note for note in comparison.notes)


def test_runs_of_unlike_parts_of_the_training_pictures_are_no_seeds_of_one_cell(tmp_path: Path) -> None:
    leave_run(tmp_path / "a", "data.train_fraction=0.5")
    leave_run(tmp_path / "b", "seed=1")
    assert list(column(compared(tmp_path).grids[0], "seeds").items()) == [
        ("hlgp train_fraction=0.5", "1"),
        ("hlgp train_fraction=1.0", "1"),
    ]


def test_alignment_and_stream_stand_beside_the_name_that_a_study_gave(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study:\n  cells: {plain: {}, aligned: {}, joint: {}}\n")
    leave_run(tmp_path / "plain" / "seed-0", "alignment.kind=none")
    leave_run(tmp_path / "aligned" / "seed-0", "alignment.kind=full", right=BETTER)
    leave_run(tmp_path / "joint" / "seed-0", "alignment.kind=none", "train.stream=joint", right=(BETTER[-1],))
    comparison = compared(tmp_path)
    accuracies = comparison.grids[0]
    assert column(accuracies, "alignment") == {"plain": "none", "aligned": "full", "joint": "none"}
    assert column(accuracies, "stream") == {"plain": "sequential", "aligned": "sequential", "joint": "joint"}
    assert [note.partition(":")[0] for note in comparison.notes][:2] == ["alignment", "stream"]
    assert [row["alignment.kind"] for row in comparison.rows] == ["none", "full", "none"]


def test_what_a_method_has_no_use_for_is_no_difference(tmp_path: Path) -> None:
    leave_run(tmp_path / "a", "train.epochs=3")
    leave_run(tmp_path / "b", "train.epochs=4")
    closed = ("method={kind: ncm}", "alignment={kind: none}", "train={epochs: 20, global_batch_size: 128}")
    leave_run(
        tmp_path / "c", *closed, "optimizer={prompt_lr: 0.003, head_lr: 0.003}", "data.augmentation.crop_scale=0.5"
    )
    notes = [note for note in compared(tmp_path).notes if note.startswith("train.epochs")]
    assert notes == ["train.epochs: 3 in hlgp alignment=diagonal epochs=3; 4 in hlgp alignment=diagonal epochs=4"]


def test_what_a_result_has_not_stays_empty(two_methods: Path) -> None:
    leave_run(two_methods / "probe", *PROBE)
    accuracies, _ = compared(two_methods).grids
    assert column(accuracies, "oracle task") == {"hlgp": "75.0 ± 0.0", "independent": "75.0 ± 0.0", "linear": "-"}
    assert column(accuracies, "final")["linear"] == "64.0", "one seed has no deviation"


def test_tasks_learned_at_once_have_no_forgetting_in_the_table(tmp_path: Path) -> None:
    leave_run(tmp_path / "sequence", "alignment.kind=none")
    leave_run(tmp_path / "at_once", *PROBE, "train.stream=joint", "alignment.kind=none", right=(BETTER[-1],))
    accuracies, _, differences = compared(tmp_path, "hlgp stream=sequential").grids
    assert column(accuracies, "final") == {"linear stream=joint": "74.0", "hlgp stream=sequential": "64.0"}
    assert column(accuracies, "forgetting") == {"linear stream=joint": "-", "hlgp stream=sequential": "5.0"}
    assert column(differences, "final") == {"linear stream=joint": "+10.0"}, "one seed has no interval"
    assert column(differences, "forgetting") == {"linear stream=joint": "-"}


def test_what_older_results_lack_has_no_column(tmp_path: Path) -> None:
    leave_run(tmp_path / "run", passes_per_image={}, training_seconds=None)
    costs = compared(tmp_path).grids[1]
    assert list(costs.columns) == ["method", "trained a task", "stored", "head", "images/s"]


@pytest.mark.parametrize(
    ("overrides", "changes", "told"),
    [
        ((), {"dataset": "0" * 64}, f"dataset: {'da7a' * 16} in {{0}}; '{'0' * 64}' in {{1}}"),
        (("backbone.img_size=64",), {}, "backbone.img_size: 32 in {0}; 64 in {1}"),
        (("backbone.normalization=half",), {}, "backbone.normalization: pretrained in {0}; half in {1}"),
        (("benchmark.validation_fraction=0.2",), {}, "evaluated_on: test in {0}; validation in {1}"),
        ((), {"class_order": list(CLASSES[::-1])}, "class_order: a at place 0 in {0}; j at place 0 in {1}"),
        ((), {"task_sizes": [2, 2, 2, 4]}, "task_sizes: 2 at place 3 in {0}; 4 at place 3 in {1}"),
        (
            (),
            {"num_test_images": [*IMAGES[:-1], 41], "final_micro_accuracy": 68.8 / 101},
            "num_test_images: 40 at place 4 in {0}; 41 at place 4 in {1}",
        ),
        ((), {"prepared_from": "x"}, "prepared_from: null in {0}; x in {1}"),
        ((), {"old_task_fraction": 0.25}, "old_task_fraction: null in {0}; 0.25 in {1}"),
    ],
)
def test_unlike_results_are_refused_by_field_value_and_run(
    overrides: tuple[str, ...], changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    first = leave_run(tmp_path / "a")
    second = leave_run(tmp_path / "b", "method.kind=independent", *overrides, **changes)
    with pytest.raises(ConfigError, match="unlike results") as refusal:
        compared(tmp_path)
    assert str(refusal.value).splitlines()[1:] == [f"  {told.format(first, second)}"], "this field, and no other"


def test_estimates_are_called_so(tmp_path: Path) -> None:
    for seed in range(3):
        estimates = {"old_task_fraction": 0.25, "estimated": ["cumulative_average_accuracy", "forgetting"]}
        leave_run(tmp_path / f"run_{seed}", f"seed={seed}", **estimates)
    (note,) = compared(tmp_path).notes
    assert note.startswith("estimates, by 25 % of the earlier tasks' pictures") and note.endswith(", forgetting")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    backbone = json.loads((tmp_path / "a" / "result.json").read_text())["backbone"] | {"sha256": "other"}
    leave_run(tmp_path / "b", "seed=1", backbone=backbone)
    with pytest.raises(ConfigError, match=r"backbone\.sha256: .* in .*a; other in .*b") as refusal:
        compared(tmp_path)
    assert "none draws other weights for every seed" in str(refusal.value), "the job's weights come from no file"


def test_another_record_of_the_input_is_refused(tmp_path: Path) -> None:
    """The tag says how pictures are put in, whatever the weights."""
    leave_run(tmp_path / "a", "backbone.name=vit_tiny_patch16_224.augreg_in21k")
    leave_run(tmp_path / "b", "backbone.name=vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    with pytest.raises(ConfigError, match=r"backbone\.name: vit_tiny_patch16_224\.augreg_in21k in .*a; "):
        compared(tmp_path)


@pytest.mark.parametrize(
    ("weights", "told"),
    [("hub", "weights from the hub"), ("none", "random weights"), ("/x/w.npz", "weights w.npz")],
)
def test_the_table_says_where_weights_and_pictures_came_from(weights: str, told: str, tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    overrides = (f"backbone.name={name}", f"backbone.weights={weights}")
    leave_run(tmp_path / "a", *overrides, prepared_from="vtab, split published, not verified")
    shared = compared(tmp_path).shared
    assert shared.startswith(f"{name}, {told} (sha256 5ead5ead5ead); ")
    assert "; data set vtab, split published, not verified (da7ada7ada7a); 100 test pictures; " in shared


def test_other_backbone_keywords_are_refused(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    leave_run(tmp_path / "b", "backbone.kwargs.depth=4")
    with pytest.raises(ConfigError, match=r"backbone\.kwargs: .*depth: 6.* in .*a; .*depth: 4.* in .*b"):
        compared(tmp_path)


def test_paths_and_names_do_not_count(tmp_path: Path) -> None:
    leave_run(tmp_path / "a", "data.path=here")
    leave_run(tmp_path / "b", "data.path=there", "seed=1", "run.dir=elsewhere")
    assert [tuple(cell.runs) for cell in cells_of(found(tmp_path))] == [(0, 1)]


def test_a_seed_counts_once(tmp_path: Path) -> None:
    first, second = leave_run(tmp_path / "a", "seed=3"), leave_run(tmp_path / "b", "seed=3")
    with pytest.raises(ConfigError, match="are both hlgp with seed 3") as refusal:
        compared(tmp_path)
    assert str(first) in str(refusal.value) and str(second) in str(refusal.value)


def test_labels_say_what_varies(tmp_path: Path) -> None:
    leave_run(tmp_path / "a", "alignment.kind=none")
    leave_run(tmp_path / "b", "method.num_groups=2")
    leave_run(tmp_path / "c", "method.generator.kind=linear")
    leave_run(tmp_path / "d", *PROBE, "optimizer.head_lr=0.5")
    assert [cell.label for cell in cells_of(found(tmp_path))] == [
        "hlgp num_groups=3 generator=bottleneck rank=4 alignment=none",
        "hlgp num_groups=2 generator=bottleneck rank=4 alignment=diagonal",
        "hlgp num_groups=3 generator=linear alignment=diagonal",
        "linear alignment=diagonal",
    ]


def test_a_setting_that_differs_between_methods_is_noted(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    leave_run(tmp_path / "b", "method.kind=independent", "optimizer.head_lr=0.5")
    comparison = compared(tmp_path)
    assert "optimizer.head_lr: 0.05 in hlgp; 0.5 in independent" in comparison.notes
    assert [row["optimizer.head_lr"] for row in comparison.rows] == ["0.05", "0.5"]


@pytest.mark.parametrize(
    ("overrides", "environment", "told"),
    [
        (("engine.precision=bf16",), ENVIRONMENT, "engine.precision: fp32 in {0}; bf16 in {1}"),
        (("launch.num_workers=2",), ENVIRONMENT, "num_workers: 1 in {0}; 2 in {1}"),
        ((), ENVIRONMENT | {"devices": ["H"]}, "devices: [cpu] in {0}; [H] in {1}"),
        ((), None, "usable_cores: 2 in {0}; unknown in {1}"),
    ],
)
def test_other_hardware_leaves_the_speed_out_and_says_why(
    overrides: tuple[str, ...], environment: dict[str, Any] | None, told: str, tmp_path: Path
) -> None:
    first = leave_run(tmp_path / "a")
    second = leave_run(tmp_path / "b", "method.kind=independent", *overrides, environment=environment)
    comparison = compared(tmp_path)
    assert set(column(comparison.grids[1], "images/s").values()) == {"-"}
    assert told.format(first, second) in comparison.notes
    assert any(note.startswith("images/s and training seconds are left out") for note in comparison.notes)
    assert [row["images_per_second"] for row in comparison.rows] == [100.0, 100.0], "the CSV keeps what was measured"


def test_hardware_that_nobody_wrote_down_is_not_alike(tmp_path: Path) -> None:
    for seed in range(2):
        leave_run(tmp_path / str(seed), f"seed={seed}", environment={"usable_cores": 2})
    comparison = compared(tmp_path)
    assert column(comparison.grids[1], "images/s") == {"hlgp": "-"}
    assert f"devices: unknown in {tmp_path / '0'}, {tmp_path / '1'}" in comparison.notes


def test_like_runs_need_no_note(two_methods: Path) -> None:
    assert compared(two_methods).notes == []


def test_other_seeds_and_other_code_are_noted(tmp_path: Path) -> None:
    first = leave_run(tmp_path / "a")
    second = leave_run(
        tmp_path / "b", "method.kind=independent", "seed=1", environment=ENVIRONMENT | {"git_commit": "def"}
    )
    notes = compared(tmp_path).notes
    assert "seed: the rows are not over the same seeds: [0] in hlgp; [1] in independent" in notes
    assert f"git_commit: abc in {first}; def in {second}" in notes


def test_the_difference_to_a_baseline_is_paired(two_methods: Path) -> None:
    """Every seed and task is ten points better at the end; forgetting is too where the last row is not the best."""
    differences = compared(two_methods, "independent").grids[2]
    assert column(differences, "final") == {"hlgp": "+10.0 [+10.0, +10.0]"}
    assert column(differences, "seeds in both") == {"hlgp": "3"}
    by_task = [-10.0, 0.0, 0.0, 0.0]  # only the first task had something to lose
    assert column(differences, "forgetting")["hlgp"].startswith(f"{sum(by_task) / 4:+.1f} [")
    other_way = compared(two_methods, "hlgp").grids[2]
    assert column(other_way, "final") == {"independent": "-10.0 [-10.0, -10.0]"}


def test_methods_without_a_common_seed_have_no_difference(tmp_path: Path) -> None:
    leave_run(tmp_path / "a")
    leave_run(tmp_path / "b", "method.kind=independent", "seed=1")
    differences = compared(tmp_path, "hlgp").grids[2]
    assert column(differences, "final") == {"independent": "-"}
    assert column(differences, "seeds in both") == {"independent": "0"}


def test_a_baseline_is_looked_for_in_every_table(
    two_methods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_run(two_methods / "elsewhere", "method.kind=l2p", dataset="0" * 64)
    assert hlgp(monkeypatch, "report", two_methods, "--apart", "--baseline", "dualprompt") == 2
    assert "--baseline: no row is 'dualprompt'; there are: l2p; hlgp; independent" in capsys.readouterr().err
    assert not (two_methods / "report" / "comparison.csv").exists()
    assert hlgp(monkeypatch, "report", two_methods, "--apart", "--baseline", "hlgp") == 0
    assert capsys.readouterr().out.count("difference to hlgp") == 1


def test_of_a_search_the_winner_counts_alone(tmp_path: Path) -> None:
    search = tmp_path / "search"
    values = job(Path("shards"), search, "search.space={optimizer.head_lr: {uniform: [0.1, 0.2]}}")
    write_text(search / "config.yaml", dump(values))
    leave_run(search / "trials" / "trial-00000", "benchmark.validation_fraction=0.2")
    runs, left_out, _ = find([RunFolder(tmp_path)])
    assert runs == []
    assert [(entry.folder.path, entry.reason.partition(":")[0]) for entry in left_out] == [
        (search, "a search without a winner")
    ]
    best = leave_run(search / "best")
    assert [run.folder.path for run in found(tmp_path)] == [best]
    assert [run.folder.path for run in find([RunFolder(tmp_path), RunFolder(best)]).runs] == [best], "and once"


def test_runs_that_did_not_finish_are_told_with_their_reason(tmp_path: Path) -> None:
    unfinished(RunFolder(tmp_path / "failed"), {"exit_code": 5, "reason": "out of memory"})
    unfinished(RunFolder(tmp_path / "running"), None)
    unfinished(RunFolder(tmp_path / "torn"), None)
    (tmp_path / "torn" / "result.json").write_text('{"exit_code":')
    unfinished(RunFolder(tmp_path / "old"), {"exit_code": 0, "reason": "done", "accuracy_matrix": [[1.0]]})
    leave_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "config.yaml").write_text("sead: 1\n")
    (tmp_path / "not_a_run").mkdir()
    (tmp_path / "not_a_run" / "config.yaml").write_text("anything: else\n")
    leave_run(tmp_path / "not_a_run" / "below")
    runs, left_out, _ = find([RunFolder(tmp_path)])
    assert [run.folder.name for run in runs] == ["below"]
    reasons = {entry.folder.name: entry.reason for entry in left_out}
    assert reasons.keys() == {"failed", "running", "torn", "old", "damaged"}
    assert reasons["failed"] == "exit code 5: out of memory"
    assert reasons["running"].startswith("no result.json")
    assert reasons["torn"] == "result.json is damaged"
    assert "has no backbone, dataset" in reasons["old"]
    assert "sead" in reasons["damaged"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"final_average_accuracy": 0.99}, "final_average_accuracy is 0.99, by its accuracy matrix 0.64"),
        ({"final_average_accuracy": "0.64"}, "final_average_accuracy is 0.64, by its accuracy matrix 0.64"),
        ({"passes_per_image": {"test": "2"}}, "passes_per_image.test is '2', which is no number"),
        ({"oracle_task_accuracy": "high"}, "oracle_task_accuracy is 'high', which is no number"),
        ({"forgetting": None}, "forgetting is None, by its accuracy matrix 0.05"),
        ({"backbone": "x"}, "(TypeError: "),
        ({"accuracy_matrix": []}, "(IndexError: "),
        ({"accuracy_matrix": [[0.5]]}, "tasks, classes and the accuracy matrix do not fit each other"),
        ({"accuracy_matrix": [["0.5"] * 5]}, "(TypeError: "),
        ({"task_sizes": None}, "(TypeError: "),
    ],
)
def test_a_result_that_was_changed_is_left_out(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    leave_run(tmp_path / "a", **changes)
    runs, (left_out,), _ = find([RunFolder(tmp_path)])
    assert (
        runs == [] and left_out.reason.startswith("result.json is not as a run writes it") and told in left_out.reason
    )


def test_a_number_that_is_none_is_told(tmp_path: Path) -> None:
    leave_run(tmp_path / "a", training_seconds="long")
    file = leave_run(tmp_path / "b", images_per_second=5e5) / "result.json"
    file.write_text(file.read_text().replace("500000.0", "Infinity"))
    runs, left_out, _ = find([RunFolder(tmp_path)])
    assert runs == []
    told = [entry.reason.partition("it: ")[2] for entry in left_out]
    assert told == ["training_seconds is 'long', which is no number", "images_per_second is inf, which is no number"]


def test_the_command_writes_both_files_and_shows_the_table(
    two_methods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished(RunFolder(two_methods / "failed"), {"exit_code": 5, "reason": "out of memory"})
    assert hlgp(monkeypatch, "report", two_methods, "--baseline", "independent") == 0
    shown = capsys.readouterr().out
    assert "74.0 ± 0.0" in shown and "+10.0 [+10.0, +10.0]" in shown and "…" not in shown
    assert f"left out: {two_methods / 'failed'}: exit code 5: out of memory" in shown
    assert "da7a" in shown and "100 test pictures" in shown

    with open(two_methods / "report" / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        *(("hlgp", str(seed)) for seed in range(3)),
        *(("independent", str(seed)) for seed in range(3)),
    ]
    result = json.loads((two_methods / "hlgp_1" / "result.json").read_text())
    assert float(rows[1]["final_average_accuracy"]) == result["final_average_accuracy"], "un-rounded"
    assert float(rows[1]["coda_forgetting"]) == result["peer_metrics"]["coda_forgetting"]
    assert rows[1]["run"] == str(two_methods / "hlgp_1")
    assert rows[1]["devices"] == "[cpu]" and rows[1]["backbone.sha256"] == "5ead" * 16

    text = (two_methods / "report" / "comparison.md").read_text()
    assert "| hlgp | 3 | 74.0 ± 0.0 |" in text
    assert "| method | seeds in both | final | forgetting |" in text
    assert "exit code 5: out of memory" in text
    assert not list(two_methods.glob(".*")), "nothing is left aside"


def test_the_files_go_where_they_are_told_to(two_methods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hlgp(monkeypatch, "report", two_methods / "hlgp_0", two_methods / "hlgp_1", "--out", two_methods / "o") == 0
    written = {path.name for path in (two_methods / "o").iterdir()}
    assert {"index.html", "comparison.csv", "comparison.md", "tables.tex", "figures"} <= written
    assert not (two_methods / "hlgp_0" / "report").exists()


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert hlgp(monkeypatch, "report", tmp_path / "nowhere") == 2
    unfinished(RunFolder(tmp_path / "failed"), {"exit_code": 6, "reason": "the loss is not finite"})
    assert hlgp(monkeypatch, "report", tmp_path) == 3
    assert "exit code 6: the loss is not finite" in capsys.readouterr().err
    leave_run(tmp_path / "a")
    leave_run(tmp_path / "b", "method.kind=independent", dataset="0" * 64)
    assert hlgp(monkeypatch, "report", tmp_path) == 2
    assert "dataset: " in capsys.readouterr().err
    assert not (tmp_path / "report").exists(), "what is refused is not written"


def test_runs_that_were_run_are_compared(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """And the results that these tests make up have the fields of real ones."""
    labels = {"hlgp stream=sequential": "hlgp", "linear stream=joint": "joint", "linear stream=sequential": "probe"}
    results = {}
    for name, overrides in (("hlgp", ()), ("probe", PROBE), ("joint", (*PROBE, "train.stream=joint"))):
        config = job(drawn, tmp_path / name, "alignment.kind=none", *overrides, "train.epochs=1")
        folder, codes = ranks.run(config)
        assert codes == [0]
        result = results[name] = folder.read_finished()
        assert result is not None
        assert result.keys() == result_of(config, EVEN).keys()
        assert result["peer_metrics"].keys() == result_of(config, EVEN)["peer_metrics"].keys()
    assert results["joint"]["forgetting"] is results["joint"]["cumulative_average_accuracy"] is None
    comparison = compared(tmp_path, "linear stream=sequential")
    accuracies, costs, _ = comparison.grids
    final = {label: f"{100 * results[name]['final_average_accuracy']:.1f}" for label, name in labels.items()}
    assert column(accuracies, "final") == final
    assert column(accuracies, "forgetting")["linear stream=joint"] == "-"
    assert column(costs, "trained a task")["linear stream=sequential"] == "0"
    assert column(costs, "passes, test") == {
        label: str(results[name]["passes_per_image"]["test"]) for label, name in labels.items()
    }
    write_json(folder.result, result | {"dataset": "another"})
    with pytest.raises(ConfigError, match="dataset: "):
        compared(tmp_path)
