"""The example plug-in, installed beside the package as another package would be, and what can be wrong with one."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import job, written

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "plugin"
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]
ENTRY_POINT = "one_prompt = one_prompt:OnePrompt\n"
BROKEN = {
    "missing": ("missing = nowhere:Method\n", "the plug-in nowhere:Method cannot be loaded (ModuleNotFoundError"),
    "renamed": ("renamed = one_prompt:OnePrompt\n", "one_prompt:OnePrompt.Options: kind must be Literal['renamed']"),
    "l2p": ("l2p = neighbours:L2p\n", "method.kind = l2p: an installed plug-in takes the name of a method that ships"),
    "bare": ("bare = json:JSONDecoder\n", "json:JSONDecoder.Options is no MethodOptions with a `kind`"),
}
NEIGHBOURS = """
from typing import Literal

import one_prompt
from hlgp_dist.config import method_options
from hlgp_dist.methods.base import Output


class Options(one_prompt.Options):
    kind: Literal["neighbours"]
    share: float = 0.5


class Neighbours(one_prompt.OnePrompt):
    Options = Options

    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.share = options.share

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features - self.share * features.mean(0)))


class Extended(Neighbours):
    class Options(method_options.L2p):
        kind: Literal["extended"]
        share: float = 0.5


class L2p(Neighbours):
    class Options(method_options.L2p):
        kind: Literal["l2p"]
"""
"""Takes a part of the batch's mean away, so a picture's class hangs on its neighbours."""
SEARCH = {
    "space": {"method.prompt_length": {"grid": [3]}},
    "num_samples": 1,
    "scheduler": {"kind": "fifo"},
    "validation_fraction": 0.3,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install docs/plugin` would leave: the module and its entry point, and three that are broken."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "one_prompt.py").write_text((EXAMPLE / "one_prompt.py").read_text())
    (folder / "neighbours.py").write_text(NEIGHBOURS)
    info = folder / "one_prompt-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: one_prompt\nVersion: 0.1\n")
    points = [
        "neighbours = neighbours:Neighbours\n",
        "extended = neighbours:Extended\n",
        *(line for line, _ in BROKEN.values()),
    ]
    (info / "entry_points.txt").write_text("".join(["[hlgp_dist.methods]\n", ENTRY_POINT, *points]))
    return folder


def hlgp(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *sys.path])
    return subprocess.run(
        [*HLGP, *map(str, words)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_a_plugin_is_configured_and_trained(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run", "benchmark.max_tasks=2"), tmp_path / "job.yaml")
    words = (config, "method.kind=one_prompt", "method.prompt_length=3")
    shown = hlgp(site, "config", *words)
    assert "kind: one_prompt" in shown.stdout and "prompt_length: 3" in shown.stdout, shown.stderr
    trained = hlgp(site, "train", *words)
    assert trained.returncode == 0, trained.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["method"] == "one_prompt"
    assert result["num_trainable_parameters"] == result["num_stored_parameters"] - statistics(4) == 6 * 2 * 3 * 32
    again = hlgp(site, "train", config, "method.kind=one_prompt", "method.prompt_length=4")
    assert again.returncode == 2 and "method.prompt_length: 3 -> 4" in again.stderr


def test_an_option_of_a_plugin_is_checked(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    shown = hlgp(site, "config", config, "method.kind=one_prompt", "method.prompt_length=0")
    assert shown.returncode == 2 and "method.prompt_length" in shown.stderr


def statistics(classes: int) -> int:
    """What diagonal alignment remembers."""
    return classes * 2 * 32


def test_an_unknown_kind_lists_the_plugins(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    shown = hlgp(site, "config", config, "method.kind=one_promt")
    assert shown.returncode == 2
    assert "missing, neighbours, one_prompt, renamed; did you mean one_prompt?" in shown.stderr


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_with_a_plugin_is_said(kind: str, site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    shown = hlgp(site, "config", config, f"method.kind={kind}")
    assert shown.returncode == 2
    assert BROKEN[kind][1] in shown.stderr


@pytest.mark.soak
def test_a_plugin_is_searched_and_compared(site: Path, drawn: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    config = job(drawn, runs / "search", "benchmark.max_tasks=2", "train.epochs=1")
    values = config.model_dump(mode="json", exclude_defaults=True)
    file = tmp_path / "search.yaml"
    file.write_text(json.dumps(values | {"method": {"kind": "one_prompt"}, "search": SEARCH}))
    tuned = hlgp(site, "tune", file)
    assert tuned.returncode == 0, tuned.stderr[-2000:]
    result = json.loads((runs / "search" / "result.json").read_text())
    assert [(trial["method.prompt_length"], trial["status"]) for trial in result["trials"]] == [(3, "done")]
    assert result["test"]["num_trainable_parameters"] == 6 * 2 * 3 * 32
    reported = hlgp(site, "report", runs)
    assert reported.returncode == 0, reported.stderr
    with open(runs / "report" / "comparison.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    assert row["method"] == "one_prompt" and "| one_prompt | 1 |" in (runs / "report" / "comparison.md").read_text()


def test_the_example_keeps_the_contract(site: Path) -> None:
    checked = hlgp(site, "check-method", "one_prompt", "method.prompt_length=3")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == "one_prompt: keeps the contract of every method\n"


@pytest.mark.parametrize("kind", ["neighbours", "extended"])
def test_a_plugin_whose_predictions_depend_on_their_neighbours_is_refused(kind: str, site: Path) -> None:
    """Also where its options extend those of a method that ships: it is the plug-in that runs."""
    checked = hlgp(site, "check-method", kind)
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
    assert re.fullmatch(
        r"hlgp: logits of a picture while training task 0 depend on the rest of its batch: 33 pictures in batches "
        r"of 1, 1, 1, 2, 11, 17, and among 128 at once, differ by \S+, where the largest value is \S+\n",
        checked.stderr,
    )


@pytest.mark.parametrize("verb", ["train", "tune", "study"])
def test_no_command_runs_a_plugin_that_breaks_the_contract(verb: str, site: Path, drawn: Path, tmp_path: Path) -> None:
    values = job(drawn, tmp_path / "runs" / "run").model_dump(mode="json", exclude_defaults=True)
    values |= {"tune": {"search": SEARCH | {"space": {"method.share": {"grid": [0.1, 0.9]}}}}}.get(verb, {})
    values |= {"study": {"study": {"seeds": [0], "cells": {"ours": {"method.kind": "linear"}, "theirs": {}}}}}.get(
        verb, {}
    )
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(values | {"method": {"kind": "neighbours"}}))
    refused = hlgp(site, verb, file)
    assert refused.returncode == 1, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("hlgp: exit code 1 (method.kind = neighbours: logits of a picture while")
    assert not (tmp_path / "runs").exists()


def test_a_column_of_the_table_may_be_an_option_of_a_plugin_alone(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    column = "telemetry.hparams=[method.share]"
    assert hlgp(site, "config", config, "method.kind=neighbours", column).returncode == 0
    unknown = hlgp(site, "config", config, "method.kind=one_prompt", column)
    assert unknown.returncode == 2 and "method.share is no option" in unknown.stderr


def test_the_readme_shows_the_example_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code == (EXAMPLE / "one_prompt.py").read_text()
    (section,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert section in (EXAMPLE / "pyproject.toml").read_text() and ENTRY_POINT.strip() in section.replace('"', "")
