"""A real study: searches on Ray, runs over seeds, a cell that fails, and the same command again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from safetensors.torch import save_file

import hlgp_dist
from hlgp_dist.config.cells import study_cells
from hlgp_dist.config.grammar import read_document
from hlgp_dist.config.identity import run_name
from hlgp_dist.config.load import apply, cells, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.errors import ConfigError, Interrupted, LostWorker, TrialsFailed, Unreachable
from hlgp_dist.files import locked, write_json, write_text
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.models.backbone import check_hub, create_vit, meta_trunk
from hlgp_dist.shards.shard import shard
from hlgp_dist.study import study
from hlgp_dist.study.study import parts_of, run_study
from hlgp_dist.telemetry.recorder import hparams_of
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job, written

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
SPACE = {"space": {"optimizer.prompt_lr": {"grid": [0.01]}}, "num_samples": 1, "scheduler": {"kind": "fifo"}}
CELLS: dict[str, Any] = {
    "searched": {"search": SPACE},
    "closed_form": {"method.kind": "ncm"},
    "diverges": {"optimizer.head_lr": 1e30},
    "two_tasks": {"method.kind": "gaussian", "benchmark.increment": 8},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One random trunk for every seed."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(create_vit(TINY).state_dict(), path)
    return str(path)


class Make(Protocol):
    def __call__(self, cells: dict[str, Any], *seeds: int) -> RunConfig: ...


@pytest.fixture
def make(drawn: Path, weights: str, tmp_path: Path) -> Make:
    """A study of these cells and seeds in tmp_path/study."""

    def config(cells: dict[str, Any], *seeds: int) -> RunConfig:
        values = job(drawn, tmp_path / "study", "train.epochs=1", f"backbone.weights={weights}").model_dump(mode="json")
        return resolve(values | {"study": {"seeds": seeds, "cells": cells}}).config

    return config


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "report" / "comparison.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_searches_come_first_then_seed_by_seed(make: Make, tmp_path: Path) -> None:
    parts = parts_of(make(CELLS, 3, 5), str(tmp_path / "study"))
    assert [part.name for part in parts] == [
        "searched/search",
        *("closed_form/seed-3", "diverges/seed-3", "two_tasks/seed-3"),
        *("searched/seed-5", "closed_form/seed-5", "diverges/seed-5", "two_tasks/seed-5"),
    ]
    assert [part.config.seed for part in parts] == [3, 3, 3, 3, 5, 5, 5, 5]
    assert [part.is_search for part in parts] == [True, *[False] * 7]
    assert parts[4].search is parts[0], "whose winner decides"


def test_some_of_the_cells(make: Make, tmp_path: Path) -> None:
    config = resolve(make(CELLS, 0).model_dump(mode="json"), ["study.only=[two_tasks, closed_form]"]).config
    assert [part.name for part in parts_of(config, str(tmp_path))] == ["closed_form/seed-0", "two_tasks/seed-0"]


def test_the_small_study_that_ships_fits_what_the_package_carries(tmp_path: Path) -> None:
    embedded = Path(hlgp_dist.__file__).parent / "embedded"
    shard(embedded / "digits.tar", tmp_path / "shards")
    file = STUDIES / "digits_scaling.yaml"
    places = [f"data.path={tmp_path / 'shards'}", f"backbone.weights={embedded / 'vit_glyphs.safetensors'}"]
    parts = parts_of(resolve(file, places).config, str(tmp_path))
    assert len(parts) == 9 * 3 and parts[0].name == "d6-hlgp/seed-0"
    assert [part.config.backbone.kwargs["depth"] for part in parts[:9]] == [6] * 3 + [9] * 3 + [12] * 3
    columns = hparams_of(parts[0].config)
    assert list(columns)[:3] == ["evaluated_on", "backbone.kwargs.depth", "method.kind"], "what differs comes first"
    assert columns["backbone.kwargs.depth"] == 6 and {tuple(hparams_of(part.config)) for part in parts} == {
        tuple(columns)
    }


def test_the_scaling_study_that_ships_names_backbones_that_there_are() -> None:
    found = [cell.backbone for cell in cells(resolve(STUDIES / "backbone_scaling.yaml").config).values()][::4]
    for backbone in found:
        check_hub(backbone)
    depths = [meta_trunk(backbone).dimensions.depth for backbone in found]
    assert depths == [12, 12, 24, 32, 40]


def test_a_cell_that_does_not_fit_is_refused_before_anything_starts(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study.cells.b: method.num_groups"):
        run_study(make({"a": {}, "b": {"method.num_groups": 7}}, 0), "job")
    assert not (tmp_path / "study").exists()


def test_a_study_runs_its_cells_tells_failures_and_compares_the_rest(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with pytest.raises(TrialsFailed, match=r"(?s)1 of 4 parts of the study failed:\n  diverges/seed-0: .*") as failure:
        run_study(make(CELLS, 0), "job")
    assert failure.value.exit_code == 7
    rows = {row["method"]: row for row in rows_of(folder)}
    assert sorted(rows) == ["closed_form", "searched", "two_tasks"]
    assert json.loads((folder / "searched" / "search" / "result.json").read_text())["best_values"] == {
        "optimizer.prompt_lr": 0.01
    }
    tables = (folder / "report" / "comparison.md").read_text()
    assert tables.count("# Comparison") == 2, "tasks of other sizes have a table of their own"
    assert "diverges/seed-0: exit code 6" in tables

    finished = [folder / "closed_form" / "seed-0" / "result.json", folder / "searched" / "search" / "result.json"]
    before = [file.stat().st_mtime_ns for file in finished]
    run_study(make({"searched": CELLS["searched"]}, 0, 1), "job")
    assert [file.stat().st_mtime_ns for file in finished] == before
    once = {(name, "0") for name in ("closed_form", "searched", "two_tasks")}
    assert {(row["method"], row["seed"]) for row in rows_of(folder)} == once | {("searched", "1")}
    second = RunFolder(folder / "searched" / "seed-1").read_finished()
    assert second is not None and second["seed"] == 1


def test_a_study_by_axes_skips_what_is_finished_and_refuses_what_was_changed(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "study"

    def crossed(fraction: float) -> RunConfig:
        methods = {"ncm": {"method.kind": "ncm"}, "broken": {"optimizer.head_lr": 1e30}}
        axes = {"part": {"some": {"data.train_fraction": fraction}, "all": {}}, "method": methods}
        config = make({"a": {"method.kind": "gaussian"}}, 0).model_dump(mode="json")
        return resolve(config | {"study": {"seeds": [0], "axes": axes, "skip": ["some-broken"]}}).config

    with pytest.raises(TrialsFailed, match=r"(?s)1 of 3 parts of the study failed:\n  all-broken/seed-0") as failure:
        run_study(crossed(0.5), "job")
    assert failure.value.exit_code == 7
    assert [row["method"] for row in rows_of(folder)] == ["some-ncm", "all-ncm"], "in the study's order"
    results = {name: folder / name / "seed-0" / "result.json" for name in ("some-ncm", "all-ncm")}
    told = {name: json.loads(file.read_text())["train_fraction"] for name, file in results.items()}
    assert told == {"some-ncm": 0.5, "all-ncm": 1.0}
    assert "data.train_fraction: 0.5 in some-ncm; 1.0 in all-ncm" in (folder / "report" / "comparison.md").read_text()
    document = read_document((folder / "study.yaml").read_text()).values
    assert study_cells(document["study"])["all-ncm"] == {"part": "all", "method": "ncm"}

    before = {name: file.stat().st_mtime_ns for name, file in results.items()}
    with pytest.raises(TrialsFailed, match=r"data.train_fraction: 0.5 -> 0.75") as failure:
        run_study(apply(crossed(0.75), {"study.only": ["*-ncm"]}), "job")
    assert "1 of 2 parts" in str(failure.value)
    assert {name: file.stat().st_mtime_ns for name, file in results.items()} == before


def test_what_failed_elsewhere_meanwhile_is_not_tried_again(make: Make, tmp_path: Path) -> None:
    """Of two processes one fails a part while the other is elsewhere."""
    config = make({"a": {"method.kind": "ncm"}, "b": {"method.kind": "gaussian"}}, 0)
    result = tmp_path / "study" / "b" / "seed-0" / "result.json"
    result.parent.mkdir(parents=True)
    write_json(result, {"exit_code": 5, "reason": "out of memory"})
    os.utime(result, (time.time() + 60, time.time() + 60))
    with pytest.raises(TrialsFailed, match="b/seed-0: out of memory"):
        run_study(config, "job")
    assert [row["method"] for row in rows_of(tmp_path / "study")] == ["a"]
    os.utime(result, (0, 0))
    run_study(config, "job")
    assert [row["method"] for row in rows_of(tmp_path / "study")] == ["a", "b"], "by the same command, later"


def test_the_winner_of_another_search_decides_nothing(make: Make, tmp_path: Path) -> None:
    """The space was changed, so the search is refused; the runs behind it are not run with the former winner."""
    folder = tmp_path / "study"
    former = parts_of(make({"a": {"search": SPACE}}, 0), str(folder))[0]
    ended = RunFolder(former.place)
    write_text(ended.config, dump(former.config))
    write_json(ended.result, {"exit_code": 7, "reason": "one failed", "best_values": {}, "trials": []})
    other = SPACE | {"space": {"optimizer.prompt_lr": {"grid": [0.02]}}}
    with pytest.raises(TrialsFailed) as failure:
        run_study(make({"a": {"search": other}}, 0, 1), "job")
    assert "search.space.optimizer.prompt_lr: {grid: [0.01]} -> {grid: [0.02]}" in str(failure.value)
    assert "a/seed-1: its search found no winner" in str(failure.value)
    assert not (folder / "a" / "seed-1").exists()


def test_an_internal_error_is_one_parts_failure(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: RunConfig, stem: str, stop: Stop) -> None:
        raise RuntimeError("the actor died")

    monkeypatch.setattr(study, "start_run", broken)
    with pytest.raises(TrialsFailed, match="2 of 2 parts of the study failed") as failure:
        run_study(make({"a": {}, "b": {}}, 0), "job")
    assert "a/seed-0: internal error: RuntimeError: the actor died" in str(failure.value)


def test_another_base_is_another_study(make: Make) -> None:
    """So that one file with another protocol does not run into the first one's cells."""
    first, second = (apply(make({"a": {}}, 0), {"run.name": None, "train.epochs": epochs}) for epochs in (1, 2))
    assert run_name(first, "job") != run_name(second, "job")
    assert run_name(first, "job") == run_name(apply(first, {"study.only": ["a"]}), "job")


def test_what_another_process_is_at_is_waited_for(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the other process lets go when nothing else is left."""
    folder = tmp_path / "study"
    elsewhere = folder / "a" / "seed-0"
    elsewhere.mkdir(parents=True)
    order: list[str] = []
    lock = locked(elsewhere / ".lock")
    lock.__enter__()

    def wait(stop: Stop, seconds: float) -> None:
        order.extend(sorted(path.parent.parent.name for path in folder.glob("*/*/result.json")))
        lock.__exit__(None, None, None)

    monkeypatch.setattr(Stop, "nap", wait)
    closed = {"method.kind": "ncm"}
    run_study(make({"a": closed, "b": {"method.kind": "gaussian"}}, 0), "job")
    assert order == ["b"]
    assert [row["method"] for row in rows_of(folder)] == ["a", "b"]


def test_a_lost_worker_is_one_part_s_failure(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its exit code, for whoever starts single runs again, is that of an interrupted one."""

    def lost(config: RunConfig, stem: str, stop: Stop) -> None:
        if config.method.kind == "ncm":
            raise LostWorker("rank 1 was killed by SIGKILL")
        start_run(config, stem, stop)

    monkeypatch.setattr(study, "start_run", lost)
    with pytest.raises(TrialsFailed, match=r"(?s)1 of 2 parts .*a/seed-0: rank 1 was killed by SIGKILL"):
        run_study(make({"a": {"method.kind": "ncm"}, "b": {"method.kind": "gaussian"}}, 0), "job")
    assert [row["method"] for row in rows_of(tmp_path / "study")] == ["b"]


@pytest.mark.parametrize(("times", "fails"), [(1, False), (99, True)])
def test_a_store_that_is_away_for_a_while_fails_no_part(
    times: int, fails: bool, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, was_asked = [times], study._outcome

    def away(part: study.Part, config: RunConfig) -> study.Outcome:
        left[0] -= 1
        if left[0] >= 0:
            raise Unreachable("run.dir: config.yaml: cannot be read")
        return was_asked(part, config)

    monkeypatch.setattr(study, "_outcome", away)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.0)
    performance = study.Performance(Stop())
    performance.run(parts_of(make({"a": {"method.kind": "ncm"}}, 0), str(tmp_path)))
    assert list(performance.failed) == (["a/seed-0"] if fails else [])


def test_a_study_that_is_stopped_begins_nothing_more(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stop = [], Stop()

    def fail(config: RunConfig, stem: str, stop: Stop) -> None:
        begun.append(stem)
        stop.request()
        raise RuntimeError("what a stop may look like")

    monkeypatch.setattr(study, "start_run", fail)
    with pytest.raises(Interrupted, match="stopped by a signal in a/seed-0; the same command resumes"):
        run_study(make({"a": {}, "b": {}}, 0), "job", stop)
    assert begun == ["a/seed-0"]


def test_a_signal_while_it_waits_for_another_process(make: Make, tmp_path: Path) -> None:
    """As Slurm sends it to one of two jobs of a study."""
    file = written(make({"a": {"method.kind": "ncm"}, "b": {"method.kind": "gaussian"}}, 0), tmp_path / "job.yaml")
    elsewhere, other = (tmp_path / "study" / name / "seed-0" for name in "ab")
    elsewhere.mkdir(parents=True)
    words = [sys.executable, "-c", "from hlgp_dist.cli import main; main()", "study", str(file)]
    with locked(elsewhere / ".lock"):
        command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        while RunFolder(other).read_finished() is None:
            assert command.poll() is None
            time.sleep(0.1)
        time.sleep(2.0)  # for the end of b, after which nothing is left but to wait
        command.send_signal(signal.SIGUSR1)
        _, told = command.communicate(timeout=60)
    assert command.returncode == 75, told
    assert told.splitlines()[-1].startswith("hlgp: exit code 75 (stopped by a signal before a/seed-0; ")
