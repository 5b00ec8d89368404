"""`hlgp export` and `hlgp predict` as a user types them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from hlgp_dist.export.pictures import of_files
from hlgp_dist.export.predictor import open_export
from hlgp_dist.export.write import write_export
from tests.compiler import needs_compiler
from tests.export.exported import CLASSES, TASKS, Trained, write_weights
from tests.export.test_script import pictures
from tests.jobs import TEST_PICTURES
from tests.verbs import hlgp


@pytest.fixture
def model(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_export(trained("default"), tmp_path / "model")
    return tmp_path / "model"


def test_a_run_is_exported(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hlgp(monkeypatch, "export", trained("default").path, "--out", tmp_path / "made") == 0
    assert f"{tmp_path}/made: {CLASSES} classes in " in capsys.readouterr().out
    assert open_export(tmp_path / "made").described.learned == TASKS
    run = shutil.copytree(trained("default").path, tmp_path / "run")
    assert hlgp(monkeypatch, "export", run) == 0
    assert f"{run}/export: " in capsys.readouterr().out
    assert (run / "export" / "model.json").read_bytes() == (tmp_path / "made" / "model.json").read_bytes()
    assert hlgp(monkeypatch, "export", tmp_path) == 2
    assert "is no finished run" in capsys.readouterr().err


def test_shards_are_predicted_and_counted(
    model: Path,
    trained: Trained,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "found.csv"
    assert hlgp(monkeypatch, "predict", model, "--data", drawn, "--top", 2, "--out", out, "--batch", 7) == 0
    rows, result = list(csv.DictReader(out.open())), trained("default").read_result()
    assert result is not None
    assert len(rows) == len({row["picture"] for row in rows}) == 10 * TEST_PICTURES
    assert {row["class_1"] for row in rows} | {row["class_2"] for row in rows} <= set(result["class_order"])
    assert all(float(row["probability_1"]) >= float(row["probability_2"]) for row in rows)
    right = sum(row["true_class"] == row["class_1"] for row in rows)
    assert right == round(sum(result["accuracy_matrix"][-1]) * CLASSES * TEST_PICTURES / TASKS)
    assert f"50 pictures, {right} of {CLASSES * TEST_PICTURES} right" in capsys.readouterr().err


def test_files_and_folders_are_predicted(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown").mkdir()
    shown, out = pictures(tmp_path / "shown"), tmp_path / "found.jsonl"
    assert hlgp(monkeypatch, "predict", model, shown[2], tmp_path / "shown", "--top", 99, "--out", out) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["picture"] for row in rows] == list(map(str, [shown[2], *shown]))
    predictor = open_export(model)
    (batch,) = of_files(shown, predictor.size, 9, lambda name, reason: pytest.fail(reason)).batches
    expected = torch.softmax(predictor.logits(batch.images), 1)
    for row, probabilities in zip(rows[1:], expected, strict=True):
        found = {each["class"]: each["probability"] for each in row["top"]}
        assert [found[name] for name in predictor.described.classes] == pytest.approx(probabilities.tolist(), rel=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


@needs_compiler
def test_compiled_blocks_predict_the_same(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown").mkdir()
    pictures(tmp_path / "shown")
    found = {}
    for name, flags in (("plain", []), ("compiled", ["--compile"])):
        out = tmp_path / f"{name}.jsonl"
        assert hlgp(monkeypatch, "predict", model, tmp_path / "shown", "--out", out, *flags) == 0
        found[name] = [json.loads(line)["top"] for line in out.read_text().splitlines()]
    for plain, compiled in zip(found["plain"], found["compiled"], strict=True):
        assert {one["class"]: one["probability"] for one in compiled} == pytest.approx(
            {one["class"]: one["probability"] for one in plain}, rel=1e-4
        )


def test_bad_pictures_are_named_and_left_out(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shown").mkdir()
    shown = pictures(tmp_path / "shown")
    shown[1].write_bytes(shown[1].read_bytes()[:60])
    (tmp_path / "shown" / "text.png").write_text("no picture")
    assert hlgp(monkeypatch, "predict", model, tmp_path / "shown", "--batch", 2) == 7
    told = capsys.readouterr()
    rows = list(csv.DictReader(told.out.splitlines()))
    assert [row["picture"] for row in rows] == [str(shown[index]) for index in (0, 2, 3)]
    assert (
        f"left out: {shown[1]}: " in told.err and "text.png: neither JPEG nor PNG, or its head is damaged" in told.err
    )
    assert f"2 of 5 pictures were left out, {shown[1]} first" in told.err


def test_nothing_but_bad_pictures_make_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    out = tmp_path / "found.csv"
    assert hlgp(monkeypatch, "predict", model, tmp_path / "text.png", "--out", out) == 3
    assert "none of 1 picture could be read, " in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "--data: give either pictures or a shard folder"),
        (("nowhere.jpg",), 3, "nowhere.jpg: no such file or folder"),
        (("nowhere.jpg", "--out", "found.txt"), 2, "--out=found.txt: must end with .csv or .jsonl"),
        (("nowhere.jpg", "--device", "abacus"), 2, "--device=abacus: "),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert hlgp(monkeypatch, "predict", model, *arguments) == code
    assert message in capsys.readouterr().err


def test_other_weights_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_weights(tmp_path / "other.safetensors", seed=1)
    assert hlgp(monkeypatch, "predict", model, *pictures(tmp_path), "--weights", other) == 3
    told = capsys.readouterr()
    assert told.out == "" and "backbone.sha256" in told.err
