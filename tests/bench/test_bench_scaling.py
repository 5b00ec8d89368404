"""`hlgp bench scaling` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlgp_dist.cli import app
from hlgp_dist.errors import ConfigError

SMALL = ("--backbone", "vit_tiny_patch16_224", "--size", "32", "--batch", "4", "--rounds", "1")


def test_ranks_share_a_batch_or_have_one_each(tmp_path: Path) -> None:
    flags = [*SMALL, "--workers", "1,2", "--json", str(tmp_path / "scaling.json")]
    result = CliRunner().invoke(app, ["bench", "scaling", *flags])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "scaling.json").read_text())
    for kind, shares in (("weak", [4, 4]), ("strong", [4, 2])):
        first, second = report[kind]
        assert [first["share"], second["share"]] == shares
        assert [first["workers"], second["workers"]] == [1, 2]
        assert first["efficiency"] == pytest.approx(1.0)
        assert second["efficiency"] == pytest.approx(second["images_per_second"] / first["images_per_second"] / 2)
        assert second["images_per_second"] == pytest.approx(2 * shares[1] / second["seconds"])
        assert second["foreseen_seconds"] == pytest.approx(second["slowest"] + second["reduce"])
        assert second["slowest"] >= second["mean"] > 0 and second["reduce"] > 0
    assert "4 pictures a rank" in result.output and "4 pictures in all" in result.output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--workers", "3"), "--workers: 3 cannot share --batch=4 alike"),
        (("--workers", "1;2"), "--workers=1;2: must be whole numbers with commas"),
        (("--method", "ncm"), "--method=ncm: trains nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", "scaling", *SMALL, *flags])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
