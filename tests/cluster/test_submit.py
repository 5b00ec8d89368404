"""cluster/submit.py as a process of its own, copied alone into a home, as `ray submit` does it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.host import REPOSITORY

CONFIG = "data: {path: shards/x}\nsearch: {space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}}\n"

LAST = "submit: exit code 2 (nothing was started)"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A head's home: the project's configurations, and the script beside them."""
    (tmp_path / "hlgp_dist" / "configs").mkdir(parents=True)
    (tmp_path / "hlgp_dist" / "configs" / "tiny.yaml").write_text(CONFIG)
    shutil.copy(REPOSITORY / "cluster" / "submit.py", tmp_path)
    return tmp_path


def submit(home: Path, *arguments: str, options: tuple[str, ...] = (), **env: str) -> tuple[int, str]:
    """The exit code and the output, from a working directory that has nothing to do with it."""
    done = subprocess.run(
        [sys.executable, *options, str(home / "submit.py"), *arguments],
        cwd="/",
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "value",
    ["data.path=/a b", "data.path=$HOME", "run.name=(x)", "method.layers=[0,1]", "a.b={c:1}", "a.b='c'", "a.b=*", "a"],
)
def test_refuses_what_a_shell_could_change(home: Path, value: str) -> None:
    code, output = submit(home, "tune", "configs/tiny.yaml", "seed=1", value)
    assert code == 2
    assert repr(value) in output
    assert output.splitlines()[-1] == LAST


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["predict", "configs/tiny.yaml"], "invalid choice: 'predict'"),
        (["tune", "configs/tiny.yaml", "--num=3"], "unrecognized arguments: --num=3"),
        (["tune"], "the following arguments are required: config"),
        ([], "the following arguments are required: verb, config"),
    ],
)
def test_refuses_other_words(arguments: list[str], reason: str, home: Path) -> None:
    code, output = submit(home, *arguments)
    assert code == 2
    assert reason in output
    assert output.splitlines()[-1] == LAST


def test_refuses_another_launcher(home: Path) -> None:
    code, output = submit(home, "tune", "configs/tiny.yaml", "launch.kind=local")
    assert code == 2
    assert "launch.kind is ray for every submitted job" in output


def test_names_the_configurations_there_are(home: Path) -> None:
    code, output = submit(home, "tune", "configs/tinny.yaml")
    assert code == 2
    assert "there is configs/tiny.yaml" in output


def test_a_typing_error_ends_before_anything_starts(home: Path) -> None:
    code, output = submit(home, "tune", "configs/tiny.yaml", "train.epoch=3", HLGP_STORAGE="/shared")
    assert code == 2
    assert "did you mean epochs" in output
    assert "nothing was started" in output


def test_a_relative_path_needs_the_shared_folder(home: Path) -> None:
    code, output = submit(home, "tune", "configs/tiny.yaml")
    assert code == 2
    assert "data.path = shards/x: must be absolute: HLGP_STORAGE" in output
    assert output.splitlines()[-1].startswith("hlgp: exit code 2 (")


def test_says_when_it_runs_in_another_python(home: Path) -> None:
    code, output = submit(home, "tune", "configs/tiny.yaml", options=("-S", "-E"), HLGP_STORAGE="/shared")
    assert code == 4
    assert "cannot import hlgp_dist" in output


def test_runs_hlgp_whose_last_line_it_passes_on(home: Path) -> None:
    """Missing data: `hlgp` is really started, ends with 3 before it joins a cluster, and 3 is what comes back."""
    shared = home / "shared"
    (shared / "runs" / "first").mkdir(parents=True)
    code, output = submit(home, "tune", "configs/tiny.yaml", "run.name=first", HLGP_STORAGE=str(shared))
    assert code == 3, output
    assert "run.name=first launch.kind=ray launch.address=auto" in output.splitlines()[0]
    last = output.splitlines()[-1]
    assert last.startswith("hlgp: exit code 3 (") and f"{shared}/shards/x" in last
    assert last.endswith(f"; results in {shared}/runs/first")


def test_finds_the_project_it_came_with() -> None:
    """`ray job submit` runs the file where it lies, in `cluster/` of the project."""
    script = REPOSITORY / "cluster" / "submit.py"
    command = [sys.executable, str(script), "tune", "configs/none.yaml"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 2
    assert str(REPOSITORY / "configs" / "none.yaml") in done.stdout
