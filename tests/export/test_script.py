"""The script of docs/export.md, alone in a process that can import nothing of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hlgp_dist.export.pictures import of_files
from hlgp_dist.export.predictor import open_export
from hlgp_dist.export.write import write_export
from tests.export.exported import Trained, write_weights

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"
BLOCKED = ("hlgp_dist", "ray", "deepspeed", "webdataset", "pydantic")
RUNNER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED}))  # importing them fails
sys.argv = sys.argv[1:]
import torch
torch.set_num_threads(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def script(folder: Path) -> Path:
    """As the guide prints it."""
    (text,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert max(map(len, text.splitlines())) <= 120
    path = folder / "predict.py"
    path.write_text(text)
    return path


def pictures(folder: Path) -> list[Path]:
    """Of several shapes, colours and formats."""
    random, paths = np.random.default_rng(3), []
    for index, (high, wide) in enumerate([(32, 32), (90, 50), (41, 77), (200, 130)]):
        pixels = random.integers(0, 256, (-(-high // 8), -(-wide // 8), 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        picture = Image.fromarray(pixels[:high, :wide])
        paths.append(folder / f"{index}.{'png' if index % 2 else 'jpg'}")
        (picture.convert("L") if index == 3 else picture).save(paths[-1])
    return paths


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUNNER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=arguments[0].parent, env={"PATH": ""})


@pytest.mark.parametrize("name", ["one_pass", "default"])
def test_logits_without_our_package(name: str, trained: Trained, weights: Path, tmp_path: Path) -> None:
    write_export(trained(name), tmp_path / "model")
    shown = pictures(tmp_path)
    done = run(script(tmp_path), tmp_path / "model", weights, *shown)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    torch.set_num_threads(1)
    predictor = open_export(tmp_path / "model")
    (batch,) = of_files(shown, predictor.size, len(shown), lambda name, reason: pytest.fail(reason)).batches
    assert [row["picture"] for row in rows] == batch.names
    expected = predictor.logits(batch.images)
    torch.testing.assert_close(torch.tensor([row["logits"] for row in rows]), expected, atol=1e-6, rtol=1e-5)


def test_it_refuses_other_weights(trained: Trained, tmp_path: Path) -> None:
    write_export(trained("one_pass"), tmp_path / "model")
    other = write_weights(tmp_path / "other.safetensors", seed=1)
    done = run(script(tmp_path), tmp_path / "model", other, *pictures(tmp_path))
    assert done.returncode != 0 and done.stdout == ""
    assert "these are other weights" in done.stderr


def test_it_refuses_another_variant(trained: Trained, weights: Path, tmp_path: Path) -> None:
    write_export(trained("sinusoidal"), tmp_path / "model")
    done = run(script(tmp_path), tmp_path / "model", weights, *pictures(tmp_path))
    assert done.returncode != 0 and done.stdout == ""
    assert "this script is of another HLGP" in done.stderr
