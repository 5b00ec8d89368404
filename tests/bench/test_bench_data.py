"""`hlgp bench data` as a user calls it."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlgp_dist.bench.loading import Ended, _own_folder
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


@pytest.mark.parametrize("meets_a_loader", [False, True])
def test_sigterm_is_one_line_and_leaves_nothing(meets_a_loader: bool) -> None:
    """A rival's loader takes its workers' end, by the same signal, for an error of its own."""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
    with pytest.raises(Ended, match=r"^ended by SIGTERM") as ended, _own_folder() as folder:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            if meets_a_loader:
                raise RuntimeError("DataLoader worker is killed by signal: Terminated.") from None
            raise
    assert ended.value.exit_code == 143
    assert not folder.exists()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]


def test_an_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="another"), _own_folder():
        raise RuntimeError("another")
