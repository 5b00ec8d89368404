"""`hlgp bench data` as a user calls it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlgp_dist.cli import app
from hlgp_dist.errors import ConfigError

EPOCHS = ["first epoch", "crop and flip", "with jitter", "evaluation"]


def test_all_see_the_same_pictures_and_each_is_decoded_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    drawn = {"pictures": 24, "pixels": 64, "size": 32}
    short = {"batch-size": 9, "workers": 1, "repeats": 1, "epochs": 2, "steps": 1}
    flags = [text for name, value in (drawn | short).items() for text in (f"--{name}", str(value))]
    result = CliRunner().invoke(app, ["bench", "data", *flags, "--json", str(tmp_path / "report.json")])
    assert result.exit_code == 0, result.output  # it raises where one of them does not give each picture once
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["decoded_per_picture"] == 1.0
    assert report["evaluation_difference"] * 255 < 3
    for ratios in report["ratios"].values():
        assert list(ratios) == EPOCHS
        assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios.values())
    assert set(report["ratios"]) == {"ImageFolder", "webdataset"}
    assert list(report["where_time_goes"]) == EPOCHS
    assert report["memory"]["flat"] is None
    assert len(report["memory"]["resident_mib"]) == 2
    assert math.isclose(sum(report["step"]["percent"].values()), 100.0)
    assert report["workload"]["pictures"] == 24
    assert report["machine"]["processor"]
    assert all(name in result.output for name in EPOCHS)
    assert not list(scratch.iterdir())


def test_pictures_are_drawn_or_given(tmp_path: Path) -> None:
    for flags, message in ((["--pixels", "64"], "--pixels=64: nothing is drawn"), ([], "no such folder")):
        folder = tmp_path if flags else tmp_path / "none"
        result = CliRunner().invoke(app, ["bench", "data", "--from", str(folder), *flags])
        assert isinstance(result.exception, ConfigError)
        assert message in str(result.exception)
