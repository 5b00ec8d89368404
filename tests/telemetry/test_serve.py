"""TensorBoard itself, on loopback, over a run's folder."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.ports import LOOPBACK
from hlgp_dist.telemetry.board import serve
from hlgp_dist.telemetry.recorder import Recorder

SERVE = "import sys; from pathlib import Path; from hlgp_dist.telemetry.board import serve; serve(Path(sys.argv[1]), 0)"


def test_it_shows_the_run_and_ends_quietly(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", config_text="", hparams={}) as recorder:
        recorder.scalars(1, {"train/loss": 1.0})
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.search(r"http://[^ ;]+", process.stdout.readline())
    assert address is not None
    assert LOOPBACK in address[0]
    with urllib.request.urlopen(f"{address[0]}data/environment", timeout=30) as response:
        assert json.load(response)["data_location"] == str(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.stdout.close()


def test_a_taken_port_is_a_failure_of_the_machine(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=str(port)):
            serve(tmp_path, port)
