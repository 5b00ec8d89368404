"""STUDY/plan.json: its writer and its reader."""

from __future__ import annotations

import json
from pathlib import Path

from hlgp_dist.study.members import STUDY_FILE, members_of
from hlgp_dist.study.planning.kept import keep_plan
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job
from tests.study.studies import plan_of

CELLS = "study={cells: {plain: {}, long: {train.epochs: 6}}, seeds: [0]}"
SEARCH = "search.space={method.num_groups: {choice: [1, 2]}, optimizer.head_lr: {uniform: [0.1, 0.2]}}"


def test_what_is_kept_is_what_a_report_reads(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).write_text("study: {cells: {plain: {}, long: {}}}\n")
    keep_plan(tmp_path, job(drawn, tmp_path, CELLS))
    members = members_of(RunFolder(tmp_path))
    (values, plain), (_, long) = (member.plans[0] for member in members.values())
    assert values == {} and long["steps"] == 2 * plain["steps"] > 0
    assert plan_of(1.0).keys() <= plain.keys(), "what these tests leave in its place"
    assert plan_of(1.0)["stages"][0].keys() <= plain["stages"][0].keys()


def test_a_searched_cell_has_a_plan_for_each_value_that_moves_it(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).write_text("study: {cells: {plain: {}}}\n")
    keep_plan(tmp_path, job(drawn, tmp_path, SEARCH, "study={cells: {plain: {}}}"))
    (member,) = members_of(RunFolder(tmp_path)).values()
    assert [values for values, _ in member.plans] == [{"method.num_groups": 1}, {"method.num_groups": 2}]


def test_only_what_changed_is_planned_anew(drawn: Path, tmp_path: Path) -> None:
    keep_plan(tmp_path, job(drawn, tmp_path, CELLS))
    file = tmp_path / "plan.json"
    marked = json.loads(file.read_text())
    for cell in marked["cells"].values():
        cell["mark"] = True
    file.write_text(json.dumps(marked))
    keep_plan(tmp_path, job(drawn, tmp_path, CELLS.replace("epochs: 6", "epochs: 4"), "run.name=other"))
    assert ["mark" in cell for cell in json.loads(file.read_text())["cells"].values()] == [True, False]
