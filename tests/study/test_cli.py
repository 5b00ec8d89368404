"""The verbs that need no worker, as a user types them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.jobs import CLASSES, draw_pictures, job, written
from tests.verbs import hlgp


def test_shards_are_made_described_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    assert hlgp(monkeypatch, "data", "shard", draw_pictures(tmp_path / "pictures"), shards) == 0
    assert "113" in capsys.readouterr().out
    assert hlgp(monkeypatch, "data", "info", shards) == 0
    described = capsys.readouterr().out
    assert [line.split()[1] for line in described.splitlines() if line.startswith("│ ")][:10] == list(CLASSES)
    assert "9 to 14" in described
    assert "train pixels, least / median / most: width 32, height 32" in described
    assert hlgp(monkeypatch, "data", "verify", shards, "--decode", "all") == 0
    tar = shards / "train-000000.tar"
    content = bytearray(tar.read_bytes())
    content[600] ^= 1
    tar.write_bytes(content)
    assert hlgp(monkeypatch, "data", "verify", shards) == 3
    told = capsys.readouterr().err
    assert "train-000000.tar" in told and f"{shards}: 2 problems" in told
    (shards / "manifest.json").unlink()
    assert hlgp(monkeypatch, "data", "verify", shards) == 3
    assert f"{shards}: 1 problem\n" in capsys.readouterr().err


def test_scaled_shards_and_a_contact_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, shards = draw_pictures(tmp_path / "pictures"), tmp_path / "shards"
    assert hlgp(monkeypatch, "data", "shard", source, shards, "--quality", "75") == 2
    assert "--quality 75: has no effect without --resize" in capsys.readouterr().err
    assert hlgp(monkeypatch, "data", "shard", source, shards, "--resize", "16") == 0
    assert "shorter side at most 16, JPEG quality 90" in capsys.readouterr().out
    assert hlgp(monkeypatch, "data", "info", shards, "--sheet", tmp_path / "sheet.png") == 0
    assert capsys.readouterr().out.endswith("sheet.png: 10 of 10 classes\n")
    for sheet, code, told in (
        ("sheet.png", 2, "exists already"),
        ("sheet.jpg", 2, "ends in .png"),
        ("no/sheet.png", 4, f"there is no folder {tmp_path}/no"),
    ):
        assert hlgp(monkeypatch, "data", "info", shards, "--sheet", tmp_path / sheet) == code
        printed = capsys.readouterr()
        assert printed.out == "" and told in printed.err


def test_the_resolved_configuration_names_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text("data: {path: x}\nmethod: {num_groups: 4}\n")
    assert hlgp(monkeypatch, "config", tmp_path / "job.yaml", "optimizer.prompt_lr=1e-3") == 0
    lines = {line.split(":")[0].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert lines["num_groups"].endswith("job.yaml:2")
    assert "0.001" in lines["prompt_lr"] and lines["prompt_lr"].endswith("# override")
    assert lines["head_lr"].endswith("# default")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_torchs_threads_spin_briefly_unless_the_user_says_how_long(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(name)
    assert hlgp(monkeypatch, "config", "--help") == 0
    assert os.environ.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("train", "nowhere.yaml"), 2),
        (("data", "info", "nowhere"), 3),
        (("data", "info", ""), 2),
        (("data", "verify", ""), 2),
        (("data", "prepare", "cub200", "--from", "a", "--out", "s3://bucket/x"), 2),
        (("data", "shard", ".", "s3://bucket/x"), 2),
        (("data", "shard", "a", "b", "--workers", "0"), 2),
        (("data", "verify", "a", "--decode", "some"), 2),
        (("tensorboard", "nowhere"), 2),
        (("tensorboard", ".", "--port", "-1"), 2),
        (("fly",), 2),
    ],
)
def test_misuse_ends_with_the_documented_code(
    arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hlgp(monkeypatch, *arguments) == code
    assert list(tmp_path.iterdir()) == []


def test_the_last_line_names_a_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(job(tmp_path / "no_shards", tmp_path / "runs" / "run"), tmp_path / "job.yaml")
    assert hlgp(monkeypatch, "train", file) == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith("; nothing was started")
    (tmp_path / "runs" / "run").mkdir(parents=True)
    assert hlgp(monkeypatch, "train", file) == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"; results in {tmp_path}/runs/run")
