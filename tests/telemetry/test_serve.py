"""TensorBoard itself, on loopback, over a run's folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.ports import LOOPBACK
from hlgp_dist.telemetry.board import serve
from hlgp_dist.telemetry.recorder import Recorder
from tests.telemetry.browser import read, served, wait_for

TASKS = 24
"""More than TensorBoard would show pictures of."""


def test_it_shows_the_run_and_ends_quietly(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", config_text="", hparams={}) as recorder:
        for task in range(TASKS):
            recorder.figure("acc_matrix", task, torch.full((3, 8, 8), task, dtype=torch.uint8))
        with served(tmp_path) as address:
            assert LOOPBACK in address
            assert read(address, "data/environment")["data_location"] == str(tmp_path)
            where = "data/plugin/images/images?tag=acc_matrix&run=run/tensorboard&sample=0"
            wait_for(lambda: "run/tensorboard" in read(address, "data/runs"))
            wait_for(lambda: [picture["step"] for picture in read(address, where)] == list(range(TASKS)))
            recorder.figure("acc_matrix", TASKS, torch.zeros(3, 8, 8, dtype=torch.uint8))
            wait_for(lambda: len(read(address, where)) == TASKS + 1)


def test_it_starts_without_what_only_a_run_needs() -> None:
    code = (
        "import sys, hlgp_dist.cli, hlgp_dist.launch.opening, hlgp_dist.telemetry.board; print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def test_a_taken_port_is_a_failure_of_the_machine(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=str(port)):
            serve(tmp_path, port)
