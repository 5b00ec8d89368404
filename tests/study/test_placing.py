"""Cells of a report: which runs are one, where each stands, what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.errors import ConfigError
from hlgp_dist.files import write_json, write_text
from hlgp_dist.study.collect import find
from hlgp_dist.study.reporting.along import fits_along
from hlgp_dist.study.reporting.costs import actual_grid
from hlgp_dist.study.reporting.places import axes_of, sizes
from hlgp_dist.study.reporting.placing import placed
from hlgp_dist.study.reporting.provenance import commands_of
from hlgp_dist.study.reporting.ranking import crossed
from hlgp_dist.train.estimate.speed import Bench
from hlgp_dist.train.folder import RunFolder
from tests.results import leave_run
from tests.study.studies import found, leave_study, plan_of


def test_a_cell_whose_seeds_drew_their_weights_is_one(tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=2)
    for file in tmp_path.glob("*/seed-1/result.json"):
        file.write_text(file.read_text().replace("5ead" * 16, "0dd5" * 16))
    cells = placed(found(tmp_path))
    assert len(cells) == 9 and all(list(cell.cell.runs) == [0, 1] for cell in cells)
    assert {cell.series for cell in cells} == {"hlgp", "independent", "linear"}


@pytest.mark.parametrize("changed", ["dataset", "settings"])
def test_runs_of_one_name_that_are_unlike_are_two_cells(changed: str, tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", "study: {cells: {one: {}}}\n")
    leave_run(tmp_path / "one" / "seed-0", "seed=0")
    if changed == "dataset":
        leave_run(tmp_path / "one" / "seed-1", "seed=1", dataset="beef" * 16)
    else:
        leave_run(tmp_path / "one" / "seed-1", "seed=1", "optimizer.head_lr=0.5")
    cells = placed(found(tmp_path))
    assert [list(cell.cell.runs) for cell in cells] == [[0], [1]]
    assert len({cell.name for cell in cells}) == 2


def test_one_seed_with_two_weights_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", "study: {cells: {one: {}}}\n")
    weights = {"name": "vit_tiny_patch16_224", "weights": "none", "timm_version": "1.0.31"}
    leave_run(tmp_path / "one" / "seed-0", backbone=weights | {"sha256": "a" * 64})
    leave_run(tmp_path / "one" / "again", backbone=weights | {"sha256": "b" * 64})
    with pytest.raises(ConfigError, match="both one with seed 0"):
        placed(found(tmp_path))


def test_two_studies_of_one_plan_are_an_axis(tmp_path: Path) -> None:
    for name in ("short", "long"):
        leave_study(tmp_path / name, seeds=1)
    for file in (tmp_path / "long").glob("*/seed-0/config.yaml"):
        file.write_text(file.read_text().replace("epochs: 1", "epochs: 7"))
    cells = placed(found(tmp_path))
    assert axes_of(cells)["study"] == ["long", "short"]
    assert len(cells) == 18 and len({cell.name for cell in cells}) == 18
    table = crossed(cells)
    assert table is not None and len(table[0].rows) == 6 and len(table[1]) == 3


def test_studies_that_share_no_axes_are_placed_by_what_they_ran(tmp_path: Path) -> None:
    leave_study(tmp_path / "one", seeds=1)
    write_text(tmp_path / "two" / "study.yaml", "study: {axes: {width: {w: {}}}}\n")
    leave_run(tmp_path / "two" / "w" / "seed-0", "method.kind=l2p")
    assert "width" not in axes_of(placed(found(tmp_path)))


def test_every_set_of_pictures_has_its_best(tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", "study: {axes: {data: {hard: {}, easy: {}}, method: {hlgp: {}, l2p: {}}}}\n")
    for data, digest, right in (("hard", "a", 5), ("easy", "b", 9)):
        for place, method in enumerate(("hlgp", "l2p")):
            rows = [[right - place] * (t + 1) for t in range(5)]
            run = tmp_path / f"{data}-{method}" / "seed-0"
            leave_run(run, f"method.kind={method}", right=rows, dataset=digest * 64)
    table = crossed(placed(found(tmp_path)))
    assert table is not None
    grid, marks = table
    assert grid.columns == ["method", "hard", "easy"] and marks == {(0, 1), (0, 2)}


def test_an_error_falls_along_nothing_that_has_kinds(tmp_path: Path) -> None:
    """Other pictures are no more of the same pictures."""
    write_text(tmp_path / "study.yaml", "study: {axes: {data: {a: {}, b: {}, c: {}}}}\n")
    for place, data in enumerate("abc"):
        run = tmp_path / data / "seed-0"
        leave_run(run, dataset=data * 64, num_trainable_parameters=10**place)
    assert fits_along("data", placed(found(tmp_path))) == []


def test_what_a_cell_is_no_longer_is_left_out(tmp_path: Path) -> None:
    """Its first seed is the search's winner now."""
    search = "search: {space: {optimizer.head_lr: {uniform: [0.1, 0.2]}}}"
    write_text(
        tmp_path / "study.yaml", f"data: {{path: shards}}\n{search}\nstudy: {{seeds: [0], cells: {{one: {{}}}}}}\n"
    )
    leave_run(tmp_path / "one" / "seed-0")
    leave_run(tmp_path / "one" / "search" / "best")
    everything = find([RunFolder(tmp_path)])
    assert [run.folder.path for run in everything.runs] == [tmp_path / "one" / "search" / "best"]
    assert f"{tmp_path}/one/seed-0: not what its study asks for any more" in map(str, everything.unfinished)
    write_text(tmp_path / "study.yaml", "data: {path: shards}\nstudy: {seeds: [0], cells: {one: {}}}\n")
    assert [run.folder.path for run in found(tmp_path)] == [tmp_path / "one" / "seed-0"]


def test_a_plan_is_of_the_values_that_won(tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", "study: {cells: {one: {}}}\n")
    plans = [{"values": {"method.num_groups": groups}, "run": plan_of(1e12 * groups)} for groups in (1, 2)]
    write_json(tmp_path / "plan.json", {"cells": {"one": {"runs": plans}}})
    for seed, groups in enumerate((2, 3)):
        leave_run(tmp_path / "one" / f"seed-{seed}", f"seed={seed}", f"method.num_groups={groups}")
    two, three = (run.planned for run in found(tmp_path))
    assert two is not None and two["flops"] == 2e12 and three is None


def test_a_bench_says_nothing_of_another_precision(tmp_path: Path) -> None:
    leave_study(tmp_path, seeds=1)
    cells = placed(found(tmp_path))
    for precision, is_known in (("fp32", True), ("bf16", False), (None, True)):
        took = actual_grid(cells, Bench(4.8e12, 2.4e12, precision)).rows[0]
        assert (took[3] != "-", took[7] != "-") == (is_known, is_known)


def test_a_command_for_a_store_says_what_to_fetch(tmp_path: Path) -> None:
    leave_run(tmp_path)
    (run,) = find([RunFolder(tmp_path, place="s3://bucket/runs/a")]).runs
    assert commands_of([run]) == ["hlgp train config.yaml    # that of s3://bucket/runs/a"]


def test_cells_with_names_keep_them(tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", "study: {cells: {slow: {}, fast: {}}}\n")
    for name, rate in (("slow", 0.001), ("fast", 0.06018351965254263)):
        leave_run(tmp_path / name / "seed-0", f"optimizer.head_lr={rate}")
    cells = placed(found(tmp_path))
    assert [(cell.name, cell.series) for cell in cells] == [("slow", "slow"), ("fast", "fast")]
    assert fits_along("method", cells) == []


@pytest.mark.parametrize(
    ("counts", "told"),
    [([5], "5"), ([5, 5], "5"), ([4, 5, 5], "4 + 5"), ([5, 5, 4], "5, the last 4"), ([1, 2, 3], "1, 2, 3")],
)
def test_sizes_of_tasks_in_a_word(counts: list[int], told: str) -> None:
    assert sizes(counts) == told
