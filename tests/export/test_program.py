"""A model as a program of torch.export: its logits are the model's, in a process without our package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hlgp_dist.errors import ConfigError, Failure
from hlgp_dist.export import program
from hlgp_dist.export.predictor import open_export
from hlgp_dist.export.write import write_export
from tests.export.exported import Trained

ALONE = """
import json, sys
sys.modules.update(hlgp_dist=None, timm=None, torchvision=None)  # importing them fails
import torch
torch.set_num_threads(1)
logits = torch.export.load(sys.argv[1]).module()
images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
print(json.dumps(logits(images).tolist()))
"""


@pytest.mark.parametrize(
    "name", ["default", "sinusoidal", "auxiliary", "prototype", "apt", "coda", "linear", "ranpac", "l2p", "dualprompt"]
)
def test_logits_of_the_program(name: str, trained: Trained, tmp_path: Path) -> None:
    write_export(trained(name), tmp_path / "model", as_program=True)
    predictor, images = open_export(tmp_path / "model"), torch.rand(7, 3, 32, 32)
    with torch.no_grad():
        expected = predictor.learner.predict(images).logits
        found = torch.export.load(tmp_path / "model" / program.PROGRAM).module()(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_it_needs_nothing_but_torch(trained: Trained, tmp_path: Path) -> None:
    write_export(trained("one_pass"), tmp_path / "model", as_program=True)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "model" / "model.pt2")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = open_export(tmp_path / "model").learner.predict(images).logits
    assert (torch.tensor(json.loads(done.stdout)) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_other_logits_are_refused(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program._Logits.forward
    monkeypatch.setattr(program._Logits, "forward", lambda self, images: own(self, images) + torch.rand(1))
    with pytest.raises(Failure, match=r"model\.pt2: its logits differ by"):
        write_export(trained("linear"), tmp_path / "model", as_program=True)
    assert not list(tmp_path.iterdir())


def test_a_precision_that_it_does_not_take(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(program.TOLERANCES, "fp32")
    with pytest.raises(ConfigError, match=r"engine\.precision = fp32: --torch-export takes bf16"):
        write_export(trained("linear"), tmp_path / "model", as_program=True)
    assert not list(tmp_path.iterdir())
